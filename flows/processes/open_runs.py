"""Runs of flows whose process ended before they did (Ctrl-C, a kill): the next flow of the checkout tells Prefect.

Each flow holds a file of its own locked while its process lives, .dvc/tmp/flow-runs/HOST/ID. A file that nobody holds
names a run that is over, whatever Prefect's history says of it. A run that a worker took, and was killed before it
started it, has no file; Prefect calls it pending for ever.
"""

import atexit
import os
import socket
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed

from compodiff.machine import lock_file
from compodiff.tracking.pipelines import PIPELINE
from flows.processes.console import ignore_broken_pipes

_LEFT = "its process ended before the run did; said by the next run of this checkout"
_LOST = "a worker took it and never started it; said by a later run"
_LONGEST_START = timedelta(minutes=5)  # of a run by its worker, on a machine that is very busy
_TAG = "compodiff"  # of every deployment


def begin_run() -> None:
    """Note the run of this process, and end in Prefect's history those that nobody runs any more.

    A run of another server than today's stays noted until a flow of that server comes.
    """
    ignore_broken_pipes()
    if (run_id := flow_run.get_id()) is None:  # called outside a flow
        return
    os.environ[PIPELINE] = run_id  # stages that are started join one run in MLflow
    folder = Path(".dvc", "tmp", "flow-runs", socket.gethostname())  # where several machines share a checkout
    folder.mkdir(parents=True, exist_ok=True)
    with get_client(sync_client=True) as client:
        for path in sorted(folder.glob("*-*")):
            with suppress(BlockingIOError, FileNotFoundError, ObjectNotFound, httpx.HTTPError), path.open() as file:
                lock_file(file, wait=False)
                _end_run(client, UUID(path.name))
                path.unlink()
        with suppress(httpx.HTTPError):
            _end_unstarted_runs(client, UUID(run_id))
    own = (folder / run_id.replace("-", "")).open("w")
    lock_file(own, wait=True)
    Path(own.name).replace(folder / run_id)  # which is never seen unlocked
    atexit.register(own.close)


def _end_unstarted_runs(client: SyncPrefectClient, own: UUID) -> None:
    """Set to crashed what no worker has started for long, by the server's clock when this run began.

    A worker of processes starts at once what it took; a run in a cluster may wait for its node, and is left to that.
    """
    now = client.read_flow_run(own).state
    at_once = {pool.name for pool in client.read_work_pools() if pool.type == "process"}
    pending = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING]))
    for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[_TAG]), state=pending)):
        is_late = now is not None and run.state is not None and now.timestamp - run.state.timestamp > _LONGEST_START
        if is_late and run.work_pool_name in at_once:
            client.set_flow_run_state(run.id, Crashed(message=_LOST), force=True)


def _end_run(client: SyncPrefectClient, run_id: UUID) -> None:
    """Set a run, and those of its tasks, to crashed, but those that have ended."""
    state = client.read_flow_run(run_id).state
    if state is None or state.is_final():
        return
    for task in client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))):
        if task.state is None or not task.state.is_final():
            client.set_task_run_state(task.id, Crashed(message=_LEFT), force=True)
    client.set_flow_run_state(run_id, Crashed(message=_LEFT), force=True)
