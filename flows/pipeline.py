"""Flow: everything, from the data to the champion. Run: make run, or python -m flows.pipeline.

PRESET=paper, or --preset paper, runs a file of infra/params in a project of its own, presets/paper.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import psutil
from prefect import flow
from prefect.client.schemas.objects import State
from rich.console import Console

from compodiff.behaviour.cases import read_cases
from compodiff.errors import CompoDiffError, ResourceUnavailable
from compodiff.machine import can_write
from compodiff.params import load_params
from compodiff.stages.preset import enter_preset
from compodiff.stages.sources import require_sources
from flows.graph import TWO_AT_ONCE, conclude, run_graph
from flows.notices import note_success, tell_failure
from flows.processes.dvc import stop_running
from flows.promotion import promote_registered
from flows.results import publish_results, show_outcomes, show_results
from flows.tasks import HOUR, Force, Seconds, StageOutcome


@flow(
    name="pipeline",
    flow_run_name="everything, force={force}",
    task_runner=TWO_AT_ONCE,
    timeout_seconds=120 * HOUR,
    on_completion=[note_success],
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def run_pipeline(force: Force = False, limit_seconds: Seconds = 24 * HOUR) -> State[list[StageOutcome]]:
    """Bring the whole graph up to date, then put what it registered to the gate."""
    outcomes = run_graph([], force=force, limit_seconds=limit_seconds)
    if not any(each.outcome in ("failed", "not reached") for each in outcomes):
        outcomes += promote_registered()
    publish_results(Path.cwd())
    return conclude(outcomes)


def _require_inputs(project: Path) -> None:
    """Refuse a project that lacks what its params.yaml names: sets, benchmarks, the file of cases of behaviour."""
    params = load_params(project / "params.yaml")
    require_sources(project, params)
    if params.promotion.behaviour is not None:
        read_cases(project / params.promotion.behaviour)


def main() -> int:
    """Run the pipeline, show what came of it and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.pipeline", description="The pipeline, as a flow.")
    parser.add_argument("--preset", metavar="NAME", help="a file of infra/params; the run is in presets/NAME")
    preset = parser.parse_args().preset
    complaints = Console(stderr=True, soft_wrap=True, style="bold red", markup=False)
    try:
        load_params(Path.cwd() / "params.yaml")
        _require_writable(Path.cwd())
        if preset is not None:
            enter_preset(Path.cwd(), preset)
        _require_inputs(Path.cwd())
    except CompoDiffError as error:
        complaints.print(f"pipeline: {error}")
        return error.exit_code
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _stop_at_once)
    state = run_pipeline(return_state=True)
    outcomes = state.result(raise_on_failure=False)
    if isinstance(outcomes, list):
        show_outcomes(outcomes)
    if state.is_completed():
        show_results(Path.cwd(), preset)
        return 0
    complaints.print(f"pipeline: {state.message}")
    return 1


def _require_writable(project: Path) -> None:
    """Refuse a folder that cannot be written before Prefect meets it.

    Raises:
        ResourceUnavailable: it cannot be written.
    """
    if not can_write(project):
        raise ResourceUnavailable(
            f"{project} cannot be written; copy the project to a folder of yours and run it there"
        )


def _stop_at_once(number: int, _frame: FrameType | None) -> None:
    """End with all children: the stages, and the server that Prefect would leave behind."""
    stop_running()
    for child in psutil.Process().children(recursive=True):
        child.terminate()
    os.write(sys.stderr.fileno(), b"\npipeline: stopped; make run goes on from here\n")
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
