"""Flow: the sets that training learns from, made, embedded and validated."""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.graph import TWO_AT_ONCE, conclude, run_graph
from flows.notices import note_success, tell_failure
from flows.tasks import HOUR, Force, Seconds, StageOutcome


@flow(
    name="dataset",
    flow_run_name="make and validate the sets, force={force}",
    task_runner=TWO_AT_ONCE,
    timeout_seconds=12 * HOUR,
    on_completion=[note_success],
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def make_dataset(force: Force = False, limit_seconds: Seconds = 4 * HOUR) -> State[list[StageOutcome]]:
    """Make, embed and validate every set, where anything that it is made of changed."""
    return conclude(run_graph(["validate"], force=force, limit_seconds=limit_seconds))
