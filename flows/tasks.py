"""Tasks of Prefect: a stage of dvc.yaml, a command of compodiff; with retries and time limits."""

import re
import sys
import time
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Annotated, Any

import yaml
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field, ValidationError

from compodiff.errors import CompoDiffError, ParamsInvalid
from compodiff.execution.jobs import find_cluster
from compodiff.params import TimeLimits
from flows.processes.dvc import CommandResult, is_up_to_date, list_changes, run_dvc, run_followed, stopping

HOUR = 3600.0
PROGRAM = str(Path(sys.executable).with_name("compodiff"))

Seconds = Annotated[float, Field(gt=0, le=366 * 24 * HOUR, description="time that each stage may take, in seconds")]
Force = Annotated[bool, Field(strict=True, description="run also what is up to date")]

# Exit codes of compodiff that another attempt cannot mend: what was asked for is at fault (compodiff.errors).
USERS_FAULTS = {1, 2, 3, 4, 5}
REFUSED = "Refused"  # name of the failed state of a task that only its user can mend
TIMED_OUT = "TimedOut"  # and of one that reached its limit, which Prefect names so too


@dataclass(frozen=True)
class StageOutcome:
    """What became of a stage: `ran`, `up to date`, `from cache`, `failed` or `not reached`."""

    stage: str
    outcome: str
    seconds: float
    reason: str = ""


def should_retry(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Return whether Prefect should try again: not where the user has to act first, or has stopped the flow.

    What reached its limit has had its time: begun anew it would take as long, and a training that went on from its
    checkpoint would have three times its limit.
    """
    users_fault = isinstance(state.data, CompoDiffError) and state.data.exit_code in USERS_FAULTS
    return not (state.name in (REFUSED, TIMED_OUT) or users_fault or stopping.is_set())


@task(
    task_run_name="{name}",
    retries=2,
    retry_delay_seconds=[10.0, 60.0],
    retry_condition_fn=should_retry,
    cache_policy=NO_CACHE,  # DVC is the cache
)
def run_stage(name: str, *, force: bool, limit_seconds: float) -> State[StageOutcome]:
    """Bring one stage up to date with `dvc repro --single-item`, within `limit_seconds` and its own limit."""
    started = time.monotonic()
    limit_seconds = find_limit(name, limit_seconds)
    if not force and is_up_to_date(Path.cwd(), name):
        return Completed(data=StageOutcome(name, "up to date", 0.0), message="up to date")
    if advice := None if force else advise_on_code(name, list_changes(Path.cwd(), name)):
        get_run_logger().warning(advice)
    while True:
        given = _read_params_of(name)
        arguments = ["repro", "--single-item", name, *(["--force"] if force else [])]
        ended = run_dvc(arguments, get_run_logger().info, limit_seconds=limit_seconds)
        if _read_params_of(name) == given or _describe_dvc(ended) == "up to date":
            break
        # DVC notes the params as they are after the run: it would take what the old ones made for the new ones'.
        get_run_logger().warning("params.yaml was edited while stage %s ran: it is run once more", name)
        force = True
    seconds = round(time.monotonic() - started, 1)
    if ended.code == 0:
        return Completed(data=StageOutcome(name, _describe_dvc(ended), seconds), message=_describe_dvc(ended))
    state, reason = describe_failure(ended, ended.stage_code, limit_seconds)
    return Failed(
        name=state,
        data=StageOutcome(name, "failed", seconds, reason),
        message=f"stage {name} failed: {reason}",
    )


def run_compodiff(name: str, arguments: list[str], *, limit_seconds: float) -> str:
    """Run `compodiff ARGUMENTS` in the project as a task and return the last line that it wrote.

    Raises:
        FailedRun: the command was refused, failed or took too long.
    """
    state = _run_command(name, arguments, limit_seconds=limit_seconds, return_state=True)
    state.result()  # a task that returns a failed state raises nothing where it is called
    return state.message or ""


@task(
    name="run_compodiff",
    task_run_name="{name}",
    retries=2,
    retry_delay_seconds=[10.0, 60.0],
    retry_condition_fn=should_retry,
    cache_policy=NO_CACHE,
)
def _run_command(name: str, arguments: list[str], *, limit_seconds: float) -> State[CommandResult]:
    ended = run_followed([PROGRAM, *arguments], get_run_logger().info, limit_seconds=limit_seconds)
    if ended.code == 0:
        return Completed(data=ended, message=ended.lines[-1] if ended.lines else "")
    state, reason = describe_failure(ended, ended.code, limit_seconds)
    return Failed(name=state, message=f"{name}: {reason}")


def describe_failure(ended: CommandResult, code: int | None, limit_seconds: float) -> tuple[str, str]:
    """Return the name of the failed state of a task whose command ended with `code`, and the reason."""
    if ended.timed_out:
        return TIMED_OUT, f"stopped at its limit of {limit_seconds:.0f} s; run again to go on, or give it longer"
    return REFUSED if code in USERS_FAULTS else "Failed", ended.reason


def find_limit(stage: str, limit_seconds: float) -> float:
    """Return the seconds that a stage may take: of a flow's limit and that of params.yaml, the smaller.

    A job of a cluster has the limit of params.yaml itself, and here the time that it waits for its turn counts too.

    Raises:
        ParamsInvalid: time_limits of params.yaml says no hours.
    """
    path = Path("params.yaml")
    values = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None
    if not values or "time_limits" not in values or find_cluster(stage):
        return limit_seconds
    try:
        limits = TimeLimits.model_validate(values["time_limits"])
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, ("time_limits", *fault["loc"])))
        raise ParamsInvalid(f"params.yaml: {key}: {fault['msg']}") from error
    return min(limit_seconds, HOUR * limits.find_hours(stage))


def find_outcome(name: str, state: State[Any]) -> StageOutcome:
    """Return what a task's last state says became of it."""
    if not (state.is_completed() or state.is_failed()):
        return StageOutcome(name, "not reached", 0.0, "a stage that it needs failed")
    found = state.data.result if hasattr(state.data, "result") else state.data
    if isinstance(found, StageOutcome):
        return found
    return StageOutcome(name, "failed" if state.is_failed() else "up to date", 0.0, state.message or "")


def advise_on_code(stage: str, changes: list[str]) -> str | None:
    """Return what to do where a stage is run for an edit of code alone, which may change no result, such as a comment.

    The stage's outputs are gone as soon as DVC runs it, hence the checkout.
    """
    if not changes or not all(each.startswith("src/") for each in changes):
        return None
    settled = f"dvc checkout {stage} && dvc commit --force {stage}"
    return f"{stage} is run as {', '.join(changes)} changed; if no result changes by that, Ctrl-C and: {settled}"


def _describe_dvc(ended: CommandResult) -> str:
    text = "\n".join(ended.lines)
    if "Running stage" in text:
        return "ran"
    return "from cache" if "is cached" in text else "up to date"


def _read_params_of(stage: str) -> dict[str, Any]:
    """Return what a stage of dvc.yaml reads of params.yaml: of embed@emoji, what stands under `foreach` for emoji."""
    name, _, key = stage.partition("@")
    graph = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))
    declared = graph["stages"].get(name, {})
    watched = [re.sub(r"\$\{(key|item)\}", key, each) for each in declared.get("do", declared).get("params", [])]
    values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8")) if watched else {}
    return {path: reduce(lambda below, step: (below or {}).get(step), path.split("."), values) for path in watched}
