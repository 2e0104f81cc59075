"""A command of compodiff as one Prefect task: tried again where that may help, within a time limit."""

import sys
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.dvc import Ended, run_followed
from flows.stage import REFUSED, USERS_FAULTS, worth_another_attempt

PROGRAM = str(Path(sys.executable).with_name("compodiff"))


@task(
    task_run_name="{name}",
    retries=2,
    retry_delay_seconds=[10.0, 60.0],
    retry_condition_fn=worth_another_attempt,
    cache_policy=NO_CACHE,
)
def run_compodiff(name: str, arguments: list[str], *, limit_seconds: float) -> State[Ended]:
    """Run `compodiff ARGUMENTS` in the project; its last line is the state's message."""
    ended = run_followed([PROGRAM, *arguments], get_run_logger().info, limit_seconds=limit_seconds)
    if ended.code == 0:
        return Completed(data=ended, message=ended.lines[-1] if ended.lines else "")
    reason = f"stopped at its limit of {limit_seconds:.0f} s" if ended.timed_out else ended.reason
    refused = ended.code in USERS_FAULTS and not ended.timed_out
    return Failed(name=REFUSED if refused else "Failed", message=f"{name}: {reason}")
