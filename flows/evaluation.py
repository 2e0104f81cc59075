"""Flow: the figures of the models at hand on every benchmark of the graph, with the report."""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.graph import TWO_AT_ONCE, conclude, run_graph
from flows.stage import Outcome


@flow(name="evaluation", flow_run_name="evaluation", task_runner=TWO_AT_ONCE)
def evaluation(force: bool = False, limit_seconds: float = 4 * 3600.0) -> State[list[Outcome]]:
    """Evaluate, training first whatever is not up to date."""
    return conclude(run_graph(["evaluate"], force=force, limit_seconds=limit_seconds))
