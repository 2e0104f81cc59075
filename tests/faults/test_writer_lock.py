"""One writer of DVC at a time, on a real Prefect server: a slot that nobody holds is freed, one that is held is not.

Each writer is a process: Prefect keeps one connection for a process, to the server that it spoke to first.
"""

import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from worlds.operated import ROOT, end_with_all_it_started, environment, free_port, healthy, wait_until

from flows.processes.writer_lock import WRITER

WRITE = """
import sys
from flows.processes import writer_lock
writer_lock._PATIENCE_SECONDS = 2.0
with writer_lock.lock_writing():
    print("writes", flush=True)
    sys.stdin.readline()
"""
Begin = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server that keeps its leases in files, and its folder."""
    folder, port = tmp_path_factory.mktemp("prefect"), free_port()
    command = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--port", str(port), "--no-ui"]
    process = subprocess.Popen(command, env=environment(folder), cwd=folder, start_new_session=True)
    url = f"http://127.0.0.1:{port}/api"
    try:
        wait_until(lambda: healthy(url), 120)
        yield url, folder
    finally:
        end_with_all_it_started(process)


@pytest.fixture
def begin(server: tuple[str, Path]) -> Iterator[Begin]:
    """Begins a process that writes, once it may, until it gets a line."""
    url, folder = server
    settings = environment(folder, PREFECT_API_URL=url, PYTHONPATH=f"{ROOT}:{ROOT / 'src'}")
    writers: list[subprocess.Popen[str]] = []

    def begin() -> "subprocess.Popen[str]":
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        writers.append(subprocess.Popen([sys.executable, "-c", WRITE], env=settings, cwd=folder, text=True, **pipes))
        return writers[-1]

    yield begin
    for writer in writers:
        writer.kill()
        writer.communicate()


def says_within(writer: "subprocess.Popen[str]", seconds: float) -> str:
    return writer.stdout.readline() if select.select([writer.stdout], [], [], seconds)[0] else ""


def test_a_slot_without_a_lease_is_freed(server: tuple[str, Path], begin: Begin) -> None:
    """As the server leaves it whose disk is full when it writes the lease."""
    with SyncPrefectClient(server[0]) as client:

        def taken() -> int:
            return client.read_global_concurrency_limit_by_name(WRITER).active_slots

        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=WRITER, limit=1))
        client.increment_concurrency_slots([WRITER], 1, "concurrency")
        assert taken() == 1
        writer = begin()
        assert says_within(writer, 90) == "writes\n"
        assert taken() == 1
        writer.communicate("\n", timeout=60)
        assert (writer.returncode, taken()) == (0, 0)


def test_a_slot_that_is_held_is_waited_for(begin: Begin) -> None:
    first = begin()
    assert says_within(first, 90) == "writes\n"
    second = begin()
    assert says_within(second, 20) == ""  # several times its patience, also where it starts slowly
    first.communicate("\n", timeout=60)
    assert says_within(second, 90) == "writes\n"
