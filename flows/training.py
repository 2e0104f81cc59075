"""Flow: both models trained, evaluated and registered, and the better one made champion."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from flows.graph import TWO_AT_ONCE, conclude, run_graph
from flows.notices import note_success, tell_failure
from flows.promotion import promote_registered
from flows.results import publish_results
from flows.tasks import HOUR, Force, Seconds, StageOutcome


@flow(
    name="training",
    flow_run_name="train, evaluate, register and promote, force={force}",
    task_runner=TWO_AT_ONCE,
    timeout_seconds=96 * HOUR,
    on_completion=[note_success],
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def train_models(force: Force = False, limit_seconds: Seconds = 24 * HOUR) -> State[list[StageOutcome]]:
    """Train, evaluate, register and promote, where anything that the models are made of changed."""
    outcomes = run_graph(["register"], force=force, limit_seconds=limit_seconds)
    if not any(each.outcome in ("failed", "not reached") for each in outcomes):
        outcomes += promote_registered()
    publish_results(Path.cwd())
    return conclude(outcomes)
