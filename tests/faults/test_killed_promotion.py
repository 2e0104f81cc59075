"""Real processes are killed at each request of a promotion and of a rollback; others decide at the same time."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import pytest
from factories import make_benchmark_gate
from mlflow.entities import Metric

from compodiff.errors import InputInvalid, PromotionRefused
from compodiff.tracking.decision_log import DECISIONS, settle_aliases
from compodiff.tracking.promotion import ChampionChange, promote, roll_back
from compodiff.tracking.registry import CHALLENGER, CHAMPION, MODEL, PREVIOUS, find_number_at
from compodiff.tracking.store import open_store

GATES = {"emoji": make_benchmark_gate(floor=0.1)}
# What a promotion asks of MLflow in order to change something, in order.
REQUESTS = (
    "create_run",
    "log_dict",
    "set_terminated",
    "create_registered_model",
    "create_model_version",
    "set_model_version_tag",
    "set_registered_model_alias",
)
# Forked from a process that has imported MLflow and opened no store: a store of pytest's own must not be forked.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["mlflow", "compodiff.tracking.promotion", "compodiff.tracking.store"])


def register(project: Path, recall: float) -> str:
    store = open_store(project)
    run_id = store.client.create_run(store.experiment_id).info.run_id
    composed = "emoji/composed"
    points = {f"{composed}/recall_at_10": recall}
    points |= {f"{composed}/intervals/recall_at_10/{end}": recall + by for end, by in (("low", -0.05), ("high", 0.05))}
    store.client.log_batch(run_id, metrics=[Metric(name, value, 0, 0) for name, value in points.items()])
    if not store.client.search_registered_models(f"name = '{MODEL}'"):
        store.client.create_registered_model(MODEL)
    (project / "artifacts").mkdir(exist_ok=True)
    (project / "artifacts" / "sampling.json").write_text("{}")
    version = store.client.create_model_version(MODEL, str(project), run_id).version
    store.client.set_registered_model_alias(MODEL, CHALLENGER, version)
    return str(version)


def list_running(project: Path) -> list[str]:
    store = open_store(project)
    runs = store.client.search_runs([store.experiment_id], "attributes.status = 'RUNNING'")
    return [run.info.run_name for run in runs if "verdict" in run.data.tags]


def decide(project: Path) -> ChampionChange:
    return promote(project, GATES, min_relation_queries=50)


def standing(project: Path) -> tuple[str | None, str | None]:
    store = open_store(project)
    return find_number_at(store, CHAMPION), find_number_at(store, PREVIOUS)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2 is champion, version 1 was before it, version 3 is the challenger. Made in a process of its own."""
    project = tmp_path_factory.mktemp("prepared")
    (project / "params.yaml").write_text("data: {}\n")
    maker = PROCESSES.Process(target=prepare, args=(project,))
    maker.start()
    maker.join()
    assert maker.exitcode == 0
    return project


def prepare(project: Path) -> None:
    for recall in (0.5, 0.6):
        register(project, recall)
        decide(project)
    register(project, 0.7)


@pytest.fixture
def project(prepared: Path, tmp_path: Path) -> Path:
    return shutil.copytree(prepared, tmp_path / "project")


def killed_at(project: Path, command: Callable[[Path], Any], request: int, *, after: bool) -> None:
    """Be killed just before or just after the change number `request`; stands in a process of its own."""
    done = 0

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def written(*arguments: Any, **named: Any) -> Any:
            nonlocal done
            done += 1
            if done == request and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return write(*arguments, **named)
            finally:
                if done == request:
                    os.kill(os.getpid(), signal.SIGKILL)

        return written

    for name in REQUESTS:
        setattr(mlflow.MlflowClient, name, counted(getattr(mlflow.MlflowClient, name)))
    command(project)


def in_process(target: Callable[..., Any], *arguments: Any, **named: Any) -> int | None:
    process = PROCESSES.Process(target=target, args=arguments, kwargs=named)
    process.start()
    process.join()
    return process.exitcode


# Eight changes: those of REQUESTS, where the registered model is there already and the alias is set twice.
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("request_number", range(1, 9))
@pytest.mark.parametrize(("command", "made"), [(decide, ("3", "2")), (roll_back, ("1", "2"))])
def test_killed_at_each_change_one_champion_stands_and_the_next_try_completes(
    project: Path, command: Callable[[Path], ChampionChange], made: tuple[str, str], request_number: int, after: bool
) -> None:
    assert in_process(killed_at, project, command, request_number, after=after) == -signal.SIGKILL
    champion, previous = standing(project)
    assert champion in ("2", made[0])
    assert previous in ("1", "2")
    if command is decide:
        decide(project)
    else:
        roll_back(project, instead_of="2")
    assert standing(project) == made
    verdicts = [
        each.tags["verdict"] for each in open_store(project).client.search_model_versions(f"name = '{DECISIONS}'")
    ]
    assert len(verdicts) == 3  # the killed one is made once, by whom does not matter
    assert list_running(project) == []


def test_a_promotion_that_is_not_killed_makes_as_many_changes_as_are_tried(project: Path) -> None:
    """Else the test above would end before the last."""
    assert in_process(killed_at, project, decide, 9, after=False) == 0
    assert standing(project) == ("3", "2")


def test_machines_that_share_a_store_but_no_disk_agree_on_one_champion(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a checkout, and so a lock file, of its own; what holds them apart is the store."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlruns/mlflow.db")
    machines = [tmp_path / f"machine{number}" for number in range(6)]
    for machine in machines:
        machine.mkdir()
        shutil.copy(project / "params.yaml", machine)
    everyone = [PROCESSES.Process(target=attempt, args=(machine, place)) for place, machine in enumerate(machines)]
    for each in everyone:
        each.start()
    for each in everyone:
        each.join()
    assert [each.exitcode for each in everyone] == [0] * 6
    store = open_store(project)
    found = standing(project)
    decided = settle_aliases(store)
    assert found == (decided.champion, decided.previous)  # the last of them left nothing to put right


def attempt(machine: Path, place: int) -> None:
    with suppress(InputInvalid, PromotionRefused):
        decide(machine) if place % 2 else roll_back(machine)
