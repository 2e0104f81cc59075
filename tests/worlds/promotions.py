"""Versions of a real registry that have figures, and an empty folder for their files; what is decided about them."""

from pathlib import Path

from factories import make_benchmark_gate
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion

from compodiff.tracking.decision_log import DECISIONS
from compodiff.tracking.promotion import ChampionChange, promote
from compodiff.tracking.registry import CHALLENGER, CHAMPION, MODEL, PREVIOUS, find_version_at
from compodiff.tracking.store import open_store

LIMITS = make_benchmark_gate()
GATES = {"emoji": LIMITS}
ENOUGH = 50


def figures(recall: float, **relations: float) -> dict[str, float]:
    found = {"emoji/composed/recall_at_10": recall}
    found |= {"emoji/composed/intervals/recall_at_10/low": recall - 0.05}
    found |= {"emoji/composed/intervals/recall_at_10/high": recall + 0.05}
    for relation, value in relations.items():
        found[f"emoji/composed/relations/{relation}/recall_at_10"] = value
        found[f"emoji/composed/relations/{relation}/queries"] = 100.0
    return found


def register(project: Path, recall: float, **relations: float) -> str:
    store = open_store(project)
    run_id = store.client.create_run(store.experiment_id).info.run_id
    points = [Metric(name, value, 0, 0) for name, value in figures(recall, **relations).items()]
    store.client.log_batch(run_id, metrics=points)
    if not store.client.search_registered_models(f"name = '{MODEL}'"):
        store.client.create_registered_model(MODEL)
    (project / "models" / run_id / "artifacts").mkdir(parents=True)
    (project / "models" / run_id / "artifacts" / "sampling.json").write_text("{}")
    version = store.client.create_model_version(MODEL, str(project / "models" / run_id), run_id).version
    store.client.set_registered_model_alias(MODEL, CHALLENGER, version)
    return str(version)


def aliases(project: Path) -> dict[str, str | None]:
    store = open_store(project)
    found = {alias: find_version_at(store, alias) for alias in (CHAMPION, PREVIOUS)}
    return {alias: version.number if version else None for alias, version in found.items()}


def decide(project: Path) -> ChampionChange:
    return promote(project, GATES, min_relation_queries=ENOUGH)


def decisions(project: Path) -> list[ModelVersion]:
    found = open_store(project).client.search_model_versions(f"name = '{DECISIONS}'")
    return sorted(found, key=lambda each: int(each.version))
