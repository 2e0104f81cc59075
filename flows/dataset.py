"""Flow: the triplets that training learns from, synthesized and validated."""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.graph import TWO_AT_ONCE, conclude, run_graph
from flows.stage import Outcome


@flow(name="dataset", flow_run_name="dataset", task_runner=TWO_AT_ONCE)
def dataset(force: bool = False, limit_seconds: float = 4 * 3600.0) -> State[list[Outcome]]:
    """Synthesize the triplets and validate them, where anything that they are made of changed."""
    return conclude(run_graph(["validate"], force=force, limit_seconds=limit_seconds))
