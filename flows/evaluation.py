"""Flow: the figures of the models at hand on every benchmark of the graph, with the report."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from flows.graph import TWO_AT_ONCE, conclude, run_graph
from flows.notices import note_success, tell_failure
from flows.results import publish_results
from flows.tasks import HOUR, Force, Seconds, StageOutcome


@flow(
    name="evaluation",
    flow_run_name="evaluate the models at hand, force={force}",
    task_runner=TWO_AT_ONCE,
    timeout_seconds=48 * HOUR,
    on_completion=[note_success],
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def evaluate_models(force: Force = False, limit_seconds: Seconds = 24 * HOUR) -> State[list[StageOutcome]]:
    """Evaluate, training first whatever is not up to date."""
    outcomes = run_graph(["evaluate"], force=force, limit_seconds=limit_seconds)
    publish_results(Path.cwd())
    return conclude(outcomes)
