"""A run that its worker took and never started is not pending for ever, and holds nobody off for ever."""

import subprocess
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.states import Pending
from prefect.testing.utilities import prefect_test_harness
from worlds.operated import BIN, end_with_all_it_started, environment, free_port, healthy, wait_until

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


def test_a_run_that_was_never_started_does_not_hold_off_the_next_one_of_its_deployment(tmp_path: Path) -> None:
    """Where there is one deployment only: its next run comes, and ends the lost one as above."""
    port, fast = free_port(), {"PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "1"}
    fast["PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION"] = "30"  # Prefect's least; 300 unless told
    command = [str(BIN / "prefect"), "server", "start", "--port", str(port), "--no-ui"]
    server = subprocess.Popen(command, env=environment(tmp_path, **fast), cwd=tmp_path, start_new_session=True)
    url = f"http://127.0.0.1:{port}/api"
    try:
        wait_until(lambda: healthy(url), 120)
        with SyncPrefectClient(url) as client:
            client.create_work_pool(WorkPoolCreate(name="machine", type="process"))
            made = client.create_flow(flow(name="watch")(open_runs.begin_run))
            only = client.create_deployment(made, name="only", work_pool_name="machine", concurrency_limit=1)
            lost, waiting = (client.create_flow_run_from_deployment(only).id for _ in range(2))
            client.set_flow_run_state(lost, Pending())
            client.set_flow_run_state(waiting, Pending())
            assert client.read_flow_run(waiting).state_name == "AwaitingConcurrencySlot"

            def is_taken() -> bool:
                client.set_flow_run_state(waiting, Pending())
                return client.read_flow_run(waiting).state_name == "Pending"

            wait_until(is_taken, 90)
            assert client.read_flow_run(lost).state_name == "Pending"
    finally:
        end_with_all_it_started(server)
