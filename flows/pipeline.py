"""Flow: everything, from the data to the champion. Run: make run, or python -m flows.pipeline."""

import sys
from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State
from rich.console import Console

from compodiff.errors import ParamsInvalid
from compodiff.params import load_params
from flows.graph import TWO_AT_ONCE, conclude, run_graph
from flows.promotion import promote_registered
from flows.results import show_outcomes, show_results
from flows.stage import Outcome


@flow(name="pipeline", flow_run_name="pipeline", task_runner=TWO_AT_ONCE)
def pipeline(force: bool = False, limit_seconds: float = 24 * 3600.0) -> State[list[Outcome]]:
    """Bring the whole graph up to date, then put what it registered to the gate."""
    outcomes = run_graph([], force=force, limit_seconds=limit_seconds)
    if not any(each.outcome in ("failed", "not reached") for each in outcomes):
        outcomes += promote_registered()
    return conclude(outcomes)


def main() -> int:
    """Run the pipeline, show what came of it and return the exit code."""
    complaints = Console(stderr=True, soft_wrap=True, style="bold red", markup=False)
    try:
        load_params(Path.cwd() / "params.yaml")
    except ParamsInvalid as error:
        complaints.print(f"pipeline: {error}")
        return error.exit_code
    state = pipeline(return_state=True)
    outcomes = state.result(raise_on_failure=False)
    if isinstance(outcomes, list):
        show_outcomes(outcomes)
    if state.is_completed():
        show_results(Path.cwd())
        return 0
    complaints.print(f"pipeline: {state.message}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
