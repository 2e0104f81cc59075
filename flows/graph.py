"""Any part of dvc.yaml as Prefect tasks that wait for each other; independent stages go on where one fails."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
import psutil
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed, wait
from prefect.states import Completed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from compodiff.errors import InputInvalid
from flows.data import provide_data
from flows.processes.dvc import read_stage_graph, stop_running, stopping
from flows.processes.open_runs import begin_run
from flows.processes.reaper import tie_to_this_process
from flows.processes.source_control import match_source_control
from flows.processes.writer_lock import lock_writing
from flows.tasks import StageOutcome, find_outcome, run_stage

# Most of the graph is one chain, and a laptop has few cores: more at once would only slow each other down.
TWO_AT_ONCE: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=2)


def run_graph(targets: list[str], *, force: bool, limit_seconds: float) -> list[StageOutcome]:
    """Run `targets` and all that they need (no target: the whole graph); the outcomes also become a table in Prefect.

    Args:
        targets: names of stages; that of a stage that runs over names means all of them.
        force: run also what is up to date.
        limit_seconds: time that each stage may take.

    Raises:
        InputInvalid: a target is no stage of dvc.yaml.
        ResourceUnavailable: there is no git, and DVC's settings, which must say so, cannot be written.
    """
    stopping.clear()
    begin_run()
    tie_to_this_process(psutil.Process().children())  # Prefect's temporary server, where there is one
    match_source_control(Path.cwd())
    graph = read_stage_graph(Path.cwd())
    wanted = _add_needs(targets or list(graph), graph)
    with lock_writing():
        outcomes = _run({name: graph[name] for name in graph if name in wanted}, force, limit_seconds)
    create_table_artifact(
        key="stages", table=[asdict(outcome) for outcome in outcomes], description="What became of each stage."
    )
    return outcomes


def _run(graph: dict[str, list[str]], force: bool, limit_seconds: float) -> list[StageOutcome]:
    data = provide_data.submit(return_state=False)
    futures: dict[str, PrefectFuture[Any]] = {"data": data}
    for name, upstreams in graph.items():
        needed = [data, *(futures[upstream] for upstream in upstreams)]
        futures[name] = run_stage.submit(
            name, force=force, limit_seconds=limit_seconds, wait_for=needed, return_state=False
        )
    progress = cast(UUID, create_progress_artifact(0.0, key="progress", description=f"of {len(futures)} stages"))
    try:
        for done, _ in enumerate(as_completed(list(futures.values())), 1):
            _advance(progress, 100.0 * done / len(futures))
        wait(list(futures.values()))  # a future is told to be completed before it holds its state
    except BaseException:  # cancelled or interrupted: the tasks end when what they wait for has
        stop_running()
        raise
    return [find_outcome(name, future.state) for name, future in futures.items()]


def _advance(progress: UUID, percent: float) -> None:
    """Show how far the run is; a server that is away for a moment is no reason to stop."""
    try:
        update_progress_artifact(progress, percent)
    except httpx.HTTPError as error:
        get_run_logger().warning("%.0f %% done, which Prefect's server was not told: %s", percent, type(error).__name__)


def conclude(outcomes: list[StageOutcome]) -> State[list[StageOutcome]]:
    """Return the state that a flow with these outcomes ends in; a failed one names each failed stage and its cause."""
    failed = "; ".join(f"{each.stage} failed: {each.reason}" for each in outcomes if each.outcome == "failed")
    if failed:
        return Failed(data=outcomes, message=failed)
    done = Counter(each.outcome for each in outcomes)
    return Completed(data=outcomes, message=", ".join(f"{count} {outcome}" for outcome, count in done.items()))


def _add_needs(targets: list[str], graph: dict[str, list[str]]) -> set[str]:
    wanted: set[str] = set()
    waiting: list[str] = []
    for target in targets:
        meant = [name for name in graph if name == target or name.startswith(f"{target}@")]
        if not meant:
            raise InputInvalid(f"dvc.yaml has no stage {target!r}; it has: {', '.join(graph)}")
        waiting += meant
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += graph[name]
    return wanted
