"""Flow: both models trained, evaluated and registered, and the better one made champion."""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.graph import TWO_AT_ONCE, conclude, run_graph
from flows.promotion import promote_registered
from flows.stage import Outcome


@flow(name="training", flow_run_name="training", task_runner=TWO_AT_ONCE)
def training(force: bool = False, limit_seconds: float = 24 * 3600.0) -> State[list[Outcome]]:
    """Train, evaluate, register and promote, where anything that the models are made of changed."""
    outcomes = run_graph(["register"], force=force, limit_seconds=limit_seconds)
    if not any(each.outcome == "failed" for each in outcomes):
        outcomes += promote_registered()
    return conclude(outcomes)
