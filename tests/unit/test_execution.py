import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.execution import map_shards, worker_count


@dataclass(frozen=True)
class Tagger:
    """Remembers the process that prepared it."""

    slow: bool = False

    @cached_property
    def prepared_in(self) -> str:
        return f"{os.getpid()}-{time.monotonic_ns()}"

    def __call__(self, item: int) -> tuple[int, str]:
        if self.slow:
            time.sleep(0.2)  # so that both workers get some
        return item * item, self.prepared_in


def refuse_three(item: int) -> int:
    if item == 3:
        raise InputInvalid("three is not to be had; ask for four")
    return item


def die_on_three(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_every_item_is_mapped_once_and_a_worker_keeps_what_it_prepared():
    results = list(map_shards(Tagger(slow=True), range(8), workers=2))
    assert sorted((item, square) for item, (square, _) in results) == [(item, item * item) for item in range(8)]
    prepared = {prepared for _, (_, prepared) in results}
    assert len(prepared) == 2
    assert not any(name.startswith(f"{os.getpid()}-") for name in prepared)


@pytest.mark.parametrize(("items", "workers"), [(range(3), 1), ([7], 4), ([], 4)])
def test_one_worker_or_item_stays_in_this_process(items, workers):
    tagger = Tagger()
    results = list(map_shards(tagger, items, workers=workers))
    assert [(item, square) for item, (square, _) in results] == [(item, item * item) for item in items]
    assert {prepared for _, (_, prepared) in results} <= {tagger.prepared_in}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_error_of_an_item_is_raised_here(workers):
    with pytest.raises(InputInvalid, match="three is not to be had; ask for four"):
        list(map_shards(refuse_three, range(20), workers=workers))


def test_a_killed_worker_is_said():
    with pytest.raises(ResourceUnavailable, match=r"one of 2 worker processes was killed.*COMPODIFF_WORKERS=1"):
        list(map_shards(die_on_three, range(20), workers=2))


def test_workers_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "from compodiff.execution import map_shards\n"
        "def note(folder):\n"
        "    Path(folder, str(os.getpid())).touch()\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        f"    list(map_shards(note, [{str(tmp_path / 'pids')!r}] * 2, workers=2))\n"
    )
    (tmp_path / "pids").mkdir()
    parent = subprocess.Popen([sys.executable, script])
    wait_until(lambda: len(os.listdir(tmp_path / "pids")) == 2)
    parent.kill()
    parent.wait()
    workers = [Path("/proc", pid) for pid in os.listdir(tmp_path / "pids")]
    wait_until(lambda: not any(running(worker) for worker in workers))


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def running(process: Path) -> bool:
    try:
        return process.joinpath("stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_environment_sets_the_number_of_workers(monkeypatch):
    monkeypatch.delenv("COMPODIFF_WORKERS", raising=False)
    assert worker_count() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("COMPODIFF_WORKERS", "7")
    assert worker_count() == 7
    for text in ("0", "many", "-1", ""):
        monkeypatch.setenv("COMPODIFF_WORKERS", text)
        with pytest.raises(InputInvalid, match="set it to a number of processes, 1 or more"):
            worker_count()
