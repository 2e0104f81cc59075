"""Flow: live queries that a server kept, beside those that the champion was measured on; a retraining may follow."""

import json
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.states import Completed
from pydantic import Field

from flows.notices import note_success, tell, tell_failure
from flows.processes.open_runs import begin_run
from flows.tasks import HOUR, Seconds, run_compodiff

FOLDER = Path("artifacts", "drift")
RETRAINING = "training/weekly"  # of infra/prefect.yaml

_Queries = Annotated[Path, Field(description="the file of `compodiff serve --keep-queries`")]
_Tolerated = Annotated[float, Field(ge=0, description="distance up to which no drift is said")]
_Retrain = Annotated[bool, Field(strict=True, description="where there is drift, begin a training")]


@flow(
    name="drift",
    flow_run_name="look for drift in {queries}",
    timeout_seconds=2 * HOUR,
    on_completion=[note_success],
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def look_for_drift(
    queries: _Queries = Path("queries.npz"),
    tolerated: _Tolerated = 0.1,
    retrain: _Retrain = False,
    limit_seconds: Seconds = HOUR,
) -> State[bool]:
    """Write the report, tell people where live queries have drifted, and begin a training where that is asked for.

    Args:
        queries: kept by a server.
        tolerated: distance.
        retrain: whether drift begins the deployment `training/weekly`, which trains where data or params changed.
        limit_seconds: time that it may take.
    """
    begin_run()
    arguments = ["drift", str(queries), "--tolerated", str(tolerated), "--to", str(FOLDER)]
    run_compodiff("look for drift", arguments, limit_seconds=limit_seconds)
    found: list[str] = json.loads((FOLDER / "drift.json").read_text(encoding="utf-8"))["found"]
    said = "; ".join(found) or "no drift"
    create_markdown_artifact(f"{said}: {FOLDER / 'report.html'}", key="drift", description="Live queries.")
    if found:
        tell("drifted", "live queries drifted", said)
    if found and retrain:
        begun = run_deployment(RETRAINING, timeout=0, as_subflow=False)
        get_run_logger().info("a training is asked for: %s", getattr(begun, "name", RETRAINING))
        said += f"; {RETRAINING} was asked for"
    return Completed(message=said, data=bool(found))
