"""A run that its worker took and never started is not pending for ever."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.states import Pending
from prefect.testing.utilities import prefect_test_harness

from flows.processes import open_runs


def test_a_run_that_a_worker_took_and_never_started_is_ended_by_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begin = flow(name="begins")(open_runs.begin_run)

    def take(client: SyncPrefectClient, pool: str, kind: str, *tags: str) -> UUID:
        """Return a run that a worker of a new pool has taken."""
        client.create_work_pool(WorkPoolCreate(name=pool, type=kind))
        deployment = client.create_deployment(client.create_flow(begin), name=pool, work_pool_name=pool)
        return client.create_flow_run_from_deployment(deployment, tags=tags, state=Pending()).id

    with prefect_test_harness(server_startup_timeout=180), get_client(sync_client=True) as client:
        lost = take(client, "machine", "process", "compodiff", "data")
        others = take(client, "of-others", "process")
        in_cluster = take(client, "cluster", "kubernetes", "compodiff", "job")
        begin()
        assert client.read_flow_run(lost).state_name == "Pending", "its worker may be about to start it"
        monkeypatch.setattr(open_runs, "_LONGEST_START", timedelta(0))
        begin()
        assert client.read_flow_run(lost).state_name == "Crashed"
        assert client.read_flow_run(others).state_name == "Pending"
        assert client.read_flow_run(in_cluster).state_name == "Pending", "it waits for a node"
