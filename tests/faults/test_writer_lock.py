"""One writer of DVC at a time, on a real Prefect server: a slot that nobody holds is freed, one that is held is not."""

import contextvars
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.settings import PREFECT_API_URL, temporary_settings
from worlds.operated import end_with_all_it_started, environment, free_port, healthy, wait_until

from flows.processes import writer_lock
from flows.processes.writer_lock import WRITER, lock_writing


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server that keeps its leases in files, and its address in this process's settings."""
    folder, port = tmp_path_factory.mktemp("prefect"), free_port()
    command = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--port", str(port), "--no-ui"]
    process = subprocess.Popen(command, env=environment(folder), cwd=folder, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}/api"
        wait_until(lambda: healthy(url), 120)
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    finally:
        end_with_all_it_started(process)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_lock, "_PATIENCE_SECONDS", 2.0)


def test_a_slot_without_a_lease_is_freed(server: None) -> None:
    """As the server leaves it whose disk is full when it writes the lease."""
    with get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=WRITER, limit=1))
        client.increment_concurrency_slots([WRITER], 1, "concurrency")
        assert client.read_global_concurrency_limit_by_name(WRITER).active_slots == 1
        with lock_writing():
            assert client.read_global_concurrency_limit_by_name(WRITER).active_slots == 1
        assert client.read_global_concurrency_limit_by_name(WRITER).active_slots == 0


def test_a_slot_that_is_held_is_waited_for(server: None) -> None:
    done: list[str] = []

    def write() -> None:
        with lock_writing():
            done.append("second")

    with lock_writing():
        second = threading.Thread(target=contextvars.copy_context().run, args=(write,))  # with this server
        second.start()
        time.sleep(7)  # more than three times its patience
        done.append("first")
    second.join(60)
    assert done == ["first", "second"]
