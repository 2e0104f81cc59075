"""The one input of the graph that is no stage: data/, held to data.dvc."""

import sys
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.dvc import data_state, has_remote, run_dvc, run_followed
from flows.stage import REFUSED, USERS_FAULTS, worth_another_attempt

_LIMIT_SECONDS = 3600.0


@task(
    task_run_name="data",
    retries=2,
    retry_delay_seconds=[10.0, 60.0],
    retry_condition_fn=worth_another_attempt,
    cache_policy=NO_CACHE,
)
def provide_data() -> State[Any]:
    """Have data/ as data.dvc records it: pulled where DVC has a remote, else built from the pinned packages."""
    project, logger = Path.cwd(), get_run_logger()
    if data_state(project) == "absent" and has_remote(project):
        run_dvc(["pull", "data.dvc"], logger.info, limit_seconds=_LIMIT_SECONDS)
    if data_state(project) == "absent":
        compodiff = Path(sys.executable).with_name("compodiff")
        built = run_followed([str(compodiff), "data"], logger.info, limit_seconds=_LIMIT_SECONDS)
        if built.code:
            refused = built.code in USERS_FAULTS
            return Failed(name=REFUSED if refused else "Failed", message=f"data/ cannot be built: {built.reason}")
    state = data_state(project)
    if state == "other":
        reason = "data/ is not what data.dvc records; to rebuild it, remove it; to record it: dvc add data"
        return Failed(name=REFUSED, message=reason)
    if state == "new":
        run_dvc(["commit", "--force", "data.dvc"], logger.info, limit_seconds=_LIMIT_SECONDS)
    return Completed(message="data/ is what data.dvc records")
