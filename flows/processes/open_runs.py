"""Runs of flows whose process ended before they did (Ctrl-C, a kill): the next flow of the checkout tells Prefect.

Each flow holds a file of its own locked while its process lives, .dvc/tmp/flow-runs/HOST/ID. A file that nobody holds
names a run that is over, whatever Prefect's history says of it.
"""

import atexit
import os
import socket
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed

from compodiff.machine import lock_file
from compodiff.tracking.pipelines import PIPELINE
from flows.processes.console import ignore_broken_pipes

_LEFT = "its process ended before the run did; said by the next run of this checkout"


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
    own = (folder / run_id.replace("-", "")).open("w")
    lock_file(own, wait=True)
    Path(own.name).replace(folder / run_id)  # which is never seen unlocked
    atexit.register(own.close)


def _end_run(client: SyncPrefectClient, run_id: UUID) -> None:
    """Set a run, and those of its tasks, to crashed, but those that have ended."""
    state = client.read_flow_run(run_id).state
    if state is None or state.is_final():
        return
    for task in client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))):
        if task.state is None or not task.state.is_final():
            client.set_task_run_state(task.id, Crashed(message=_LEFT), force=True)
    client.set_flow_run_state(run_id, Crashed(message=_LEFT), force=True)
