"""Flow: one stage as a job of Kubernetes, which Prefect's own worker makes: python -m flows.stage_job STAGE HOURS.

`compodiff run STAGE` becomes this command where COMPODIFF_JOBS=kubernetes. It asks for a run of the deployment
`stage/job` (infra/kubernetes/stage.yaml), says what the job says, and ends with the stage's exit code. COMPODIFF_JOB is
JSON with variables of infra/kubernetes/job-template.json: {"gpus": 8, "memory": "512Gi", "image": "..."}.

A pod that gets SIGTERM, at its time limit or because its node is wanted, keeps a checkpoint; Prefect then plans the run
anew, and the next pod goes on from there.
"""

import os
import re
import sys
import time
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import flow, get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from prefect.states import Cancelling, Completed, Failed

from compodiff.errors import CompoDiffError, InputInvalid, ProcessFailed, ResourceUnavailable, TrainingStopped
from compodiff.execution.jobs import (
    JOBS,
    PARAMETERS,
    SECONDS_FOR_A_CHECKPOINT,
    TIMES_CUT_OFF,
    digest_origin,
    read_job_parameters,
)
from compodiff.execution.stopping import StopRequest, await_stop
from compodiff.tracking.pipelines import PIPELINE
from compodiff.watching.tracing import carry_trace
from flows.notices import note_success, tell_failure
from flows.processes.dvc import run_followed, stop_running, stopping
from flows.tasks import HOUR, PROGRAM

DEPLOYMENT = "stage/job"
_SECONDS_BETWEEN_LOOKS = 5.0
_SECONDS_TO_LAST_LINES = 4.0  # Prefect sends lines every 2 seconds, also after the run has ended
_SECONDS_TO_BE_PLANNED_ANEW = 60.0  # a lost pod may be seen before the run is planned anew


@flow(
    name="stage",
    flow_run_name="{stage} as a job",
    timeout_seconds=31 * 24 * HOUR,
    on_completion=[note_success],
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def run_stage_job(stage: str) -> State[None]:
    """Run one stage in this pod; its time limit is the pod's."""
    stopping.clear()
    if (flow_run.run_count or 0) > TIMES_CUT_OFF:
        return Failed(message=f"{stage} was cut off {TIMES_CUT_OFF} times; raise its hours in time_limits")
    os.environ.pop(JOBS, None)
    try:
        ended = run_followed([PROGRAM, "run", stage], get_run_logger().info, limit_seconds=31 * 24 * HOUR)
    except BaseException:  # told to stop: the stage keeps a checkpoint
        stop_running()
        raise
    if ended.code:
        return Failed(message=f"{stage} ended with code {ended.code}: {ended.reason}")
    return Completed(message=f"{stage} has run")


def submit_stage(stage: str, hours: float, project: Path) -> None:
    """Have `stage` run as a job, and wait for its end; one that is under way already is waited for.

    Raises:
        InputInvalid: COMPODIFF_JOB is no JSON object.
        ResourceUnavailable: there is no server of Prefect or no such deployment, or the job was lost.
        TrainingStopped: SIGTERM came; the job is cancelled, with a checkpoint.
        ProcessFailed: the stage failed.
    """
    variables = make_job_variables(hours)
    origin = f"origin-{digest_origin(project)[:16]}"
    if get_current_settings().api.url is None:
        raise ResourceUnavailable(f"{JOBS} is kubernetes, but PREFECT_API_URL names no server; set it")
    try:
        with get_client(sync_client=True) as client, await_stop() as stop:
            run = _find_run(client, stage, origin, stop)
            if stop.came:
                raise TrainingStopped(f"told to stop before a job of {stage} was asked for; run it again")
            run = run or _ask_for_run(client, stage, origin, variables)
            sys.stderr.write(f"{stage} is the run {run.name} ({run.id}) of {DEPLOYMENT}\n")
            ended = _await_end(client, run.id, stop)
            if ended is None:
                client.set_flow_run_state(run.id, Cancelling(message="who waited for it was told to stop"))
                raise TrainingStopped(f"told to stop: the job of {stage} is cancelled; run it again, and it goes on")
    except ObjectNotFound as error:
        said = "deploy it: prefect deploy --all --prefect-file infra/kubernetes/stage.yaml"
        raise ResourceUnavailable(f"Prefect has no deployment {DEPLOYMENT}; {said}") from error
    except httpx.HTTPError as error:
        said = f"Prefect's server does not answer ({type(error).__name__})"
        raise ResourceUnavailable(
            f"{said}; a job of {stage} that is under way goes on, run it again to wait"
        ) from error
    _require_success(ended, stage)


def make_job_variables(hours: float) -> dict[str, Any]:
    """Return the variables of a job: what COMPODIFF_JOB gives, and the time limit that params.yaml gives.

    Raises:
        InputInvalid: COMPODIFF_JOB is no JSON object.
    """
    try:
        given = read_job_parameters()
    except (TypeError, ValueError) as error:
        raise InputInvalid(f"{PARAMETERS} is no JSON object with variables of job-template.json: {error}") from error
    passed = {name: os.environ[name] for name in (PIPELINE,) if name in os.environ}
    limits = {"deadline_seconds": ceil(HOUR * hours), "grace_seconds": SECONDS_FOR_A_CHECKPOINT}
    return given | limits | {"env": {**given.get("env", {}), **carry_trace(passed)}}


def _find_run(client: SyncPrefectClient, stage: str, origin: str, stop: StopRequest) -> FlowRun | None:
    """Return the stage's run that goes on though nobody waits for it; one of other params or code is cancelled."""
    mine = FlowRunFilter(tags=FlowRunFilterTags(all_=[_name_tag(stage)]))
    for run in client.read_flow_runs(flow_run_filter=mine):
        if run.state is None or run.state.is_final() or run.state.is_cancelling():
            continue
        if origin in run.tags:
            return run
        client.set_flow_run_state(run.id, Cancelling(message="params or code have changed"))
        _await_end(client, run.id, stop)  # nothing may write beside its successor
    return None


def _ask_for_run(client: SyncPrefectClient, stage: str, origin: str, variables: Mapping[str, Any]) -> FlowRun:
    deployment = client.read_deployment_by_name(DEPLOYMENT)
    return client.create_flow_run_from_deployment(
        deployment.id, parameters={"stage": stage}, tags=[_name_tag(stage), origin], job_variables=dict(variables)
    )


def _name_tag(stage: str) -> str:
    return f"stage-{stage}"


def _await_end(client: SyncPrefectClient, run_id: UUID, stop: StopRequest) -> State[Any] | None:
    """Say what a run says until it has ended, and return how; None where this process is told to stop."""
    said, crashed = 0, 0.0
    while not stop.came:
        state = client.read_flow_run(run_id).state
        said += _say_logs(client, run_id, said)
        crashed = (crashed or time.monotonic()) if state is not None and state.is_crashed() else 0.0
        may_go_on = crashed and time.monotonic() - crashed < _SECONDS_TO_BE_PLANNED_ANEW
        if state is not None and state.is_final() and not may_go_on:
            time.sleep(_SECONDS_TO_LAST_LINES)
            _say_logs(client, run_id, said)
            return state
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return None


def _say_logs(client: SyncPrefectClient, run_id: UUID, offset: int) -> int:
    """Say what a run has said after its first `offset` lines; return how many lines that were."""
    of_run, said = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])), 0
    while lines := client.read_logs(of_run, limit=200, offset=offset + said):
        said += len(lines)
        sys.stderr.writelines(f"{line.message}\n" for line in lines)
    return said


def _require_success(ended: State[Any], stage: str) -> None:
    if ended.is_completed():
        return
    code = re.search(r" ended with code (\d+): ", said := ended.message or "")
    if code is None:
        raise ResourceUnavailable(f"the job of {stage} was lost ({ended.name}: {said}); run it again")
    raise ProcessFailed(f"the job of {stage} failed: {said}", int(code[1]))


def main() -> int:
    """Run the stage that the arguments name, and return the exit code."""
    stage, hours = sys.argv[1], float(sys.argv[2])
    try:
        submit_stage(stage, hours, Path.cwd())
    except CompoDiffError as error:
        sys.stderr.write(f"compodiff: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
