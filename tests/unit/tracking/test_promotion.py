"""Promotion and rollback over a real registry; versions here have figures and no files."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Metric

from compodiff.errors import InputInvalid, PromotionRefused
from compodiff.params import BenchmarkGate, PromotionParams
from compodiff.tracking.promotion import Change, objections, promote, rollback
from compodiff.tracking.registry import CHALLENGER, CHAMPION, MODEL, PREVIOUS, version_at
from compodiff.tracking.store import open_store

GATE = PromotionParams(benchmarks={"emoji": BenchmarkGate(floor=0.4, margin=0.01, max_relation_drop=0.1)})
ENOUGH = 50


def figures(recall: float, **relations: float) -> dict[str, float]:
    found = {"emoji/composed/recall_at_10": recall}
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
    version = store.client.create_model_version(MODEL, str(project), run_id).version
    store.client.set_registered_model_alias(MODEL, CHALLENGER, version)
    return str(version)


def aliases(project: Path) -> dict[str, str | None]:
    store = open_store(project)
    found = {alias: version_at(store, alias) for alias in (CHAMPION, PREVIOUS)}
    return {alias: version.number if version else None for alias, version in found.items()}


def decide(project: Path) -> Change:
    return promote(project, GATE, min_relation_queries=ENOUGH)


def record(project: Path, version: str) -> dict[str, str]:
    return dict(open_store(project).client.get_model_version(MODEL, version).tags)


def test_the_first_champion_needs_only_the_floor_and_each_next_one_must_beat_it(project: Path) -> None:
    with pytest.raises(InputInvalid, match="no version of compodiff is registered"):
        decide(project)
    register(project, 0.3)
    with pytest.raises(PromotionRefused, match=r"version 1 .* 0\.300, below the floor of 0\.400"):
        decide(project)
    assert aliases(project) == {CHAMPION: None, PREVIOUS: None}

    register(project, 0.5, style=0.4)
    assert decide(project) == Change(None, "2")
    assert decide(project) == Change("2", "2")
    register(project, 0.505, style=0.4)
    with pytest.raises(PromotionRefused, match=r"0\.505, which does not beat the champion's 0\.500 by 0\.010"):
        decide(project)
    register(project, 0.6, style=0.2)
    with pytest.raises(PromotionRefused, match=r"style/recall_at_10 falls from 0\.400 to 0\.200"):
        decide(project)
    register(project, 0.6, style=0.35)
    assert decide(project) == Change("2", "5")
    assert aliases(project) == {CHAMPION: "5", PREVIOUS: "2"}


def test_each_decision_is_recorded_on_its_version(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "ada")
    register(project, 0.5)
    decide(project)
    register(project, 0.45)
    with pytest.raises(PromotionRefused):
        decide(project)
    made, refused = record(project, "1"), record(project, "2")
    assert (made["promotion.verdict"], made["promotion.from"], made["promotion.to"]) == ("promoted", "none", "1")
    assert made["promotion.by"] == "ada"
    assert made["promotion.figures"] == "emoji/composed/recall_at_10 0.5000"
    assert refused["promotion.verdict"] == "refused"
    assert "does not beat the champion's 0.500" in refused["promotion.reasons"]


def test_rollback_goes_back_and_can_itself_be_rolled_back(project: Path) -> None:
    register(project, 0.5)
    decide(project)
    with pytest.raises(InputInvalid, match="no previous champion"):
        rollback(project)
    register(project, 0.6)
    decide(project)
    assert rollback(project) == Change("2", "1")
    assert aliases(project) == {CHAMPION: "1", PREVIOUS: "2"}
    assert rollback(project) == Change("1", "2")


class _Killed(BaseException):
    """Nothing after the step that raises it is carried out."""


@pytest.mark.parametrize("writes", [0, 1])
@pytest.mark.parametrize(("command", "champion"), [(decide, "3"), (rollback, "1")])
def test_killed_between_any_two_steps_one_champion_stands_and_the_next_try_completes(
    project: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[[Path], Change], champion: str, writes: int
) -> None:
    for recall in (0.5, 0.6):
        register(project, recall)
        decide(project)
    register(project, 0.7)
    done = count()
    write = MlflowClient.set_registered_model_alias

    def killed(client: MlflowClient, *arguments: str) -> None:
        if next(done) == writes:
            raise _Killed
        write(client, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "set_registered_model_alias", killed)
        with pytest.raises(_Killed):
            command(project)
    assert aliases(project)[CHAMPION] in ("2", champion)
    if aliases(project)[CHAMPION] != champion:
        command(project)
    assert aliases(project)[CHAMPION] == champion


def test_two_promotions_at_once_make_one_change(project: Path) -> None:
    register(project, 0.5)
    with ThreadPoolExecutor(2) as both:
        changes = list(both.map(decide, [project, project]))
    assert sorted(change.made for change in changes) == [False, True]
    assert aliases(project) == {CHAMPION: "1", PREVIOUS: None}


RECALL = st.floats(0, 1)


@given(old=RECALL, new=RECALL, old_style=RECALL, new_style=RECALL)
def test_the_gate_lets_through_what_beats_floor_margin_and_relations(
    old: float, new: float, old_style: float, new_style: float
) -> None:
    reasons = objections(
        figures(new, style=new_style), figures(old, style=old_style), GATE, min_relation_queries=ENOUGH
    )
    assert (not reasons) == (new >= 0.4 and new >= old + 0.01 and new_style >= old_style - 0.1)


def test_a_relation_of_few_queries_does_not_object_and_a_missing_one_does() -> None:
    old, new = figures(0.5, style=0.9, hair=0.9), figures(0.6, style=0.1)
    reasons = objections(new, old, GATE, min_relation_queries=101)
    assert reasons == []
    reasons = objections(new, old, GATE, min_relation_queries=ENOUGH)
    assert reasons[0] == "emoji/composed/relations/hair/recall_at_10 was not measured, the champion has 0.900"
    assert len(reasons) == 2
    assert objections({}, None, GATE, min_relation_queries=1) == ["emoji/composed/recall_at_10 was not measured"]
