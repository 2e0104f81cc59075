import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import pytest

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.execution import count_workers, map_shards
from compodiff.machine import count_usable_cores, is_alive
from compodiff.sets import PAIRS, finish_set, open_set, open_shard
from compodiff.sets.writing import shard_path

SHARDS, ENTRIES = 6, 20
LOST = {"local": "its process was killed", "ray": "ActorDiedError"}


@pytest.fixture(scope="module")
def ray():
    """A Ray of two cores for this file."""
    if find_spec("ray") is None:
        pytest.skip("pip install '.[ray]'")
    import ray

    from compodiff.execution.on_ray import connect

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)  # its processes import this file
        connect()
    yield ray
    ray.shutdown()


@pytest.fixture(params=["local", "ray"])
def engine(request, monkeypatch) -> str:
    if request.param == "ray":
        request.getfixturevalue("ray")
    monkeypatch.setenv("COMPODIFF_EXECUTION", request.param)
    return request.param


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


@dataclass(frozen=True)
class Sleeper:
    """Leaves a file named after item and process while it is at an item."""

    folder: Path

    def __call__(self, item: int) -> None:
        note = self.folder / f"{item}-{os.getpid()}"
        note.touch()
        time.sleep(0.5)
        note.unlink()


def which_gpu(item: int) -> str | None:
    time.sleep(0.3)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def which_gpu_and_process(item: int) -> tuple[str | None, int]:
    return which_gpu(item), os.getpid()


def die_on_three(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_every_item_is_mapped_once_and_a_worker_keeps_what_it_prepared(engine):
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
def test_the_error_of_an_item_is_raised_here(engine, workers):
    with pytest.raises(InputInvalid, match="three is not to be had; ask for four"):
        list(map_shards(refuse_three, range(20), workers=workers))


@dataclass(frozen=True)
class ShardMaker:
    """Writes a shard slowly; the first worker that comes half way through shard `doomed` kills itself."""

    folder: Path
    doomed: int | None = None

    def __call__(self, number: int) -> Path:
        with open_shard(self.folder, "train", number, PAIRS) as shard:
            for entry in range(ENTRIES):
                place = shard.store_picture(f"{number} {entry}", bytes([number]) * 3000)
                shard.add({"key": f"{number:05d}-{entry:03d}", "picture": place, "texts": ["a picture"]})
                if number == self.doomed and entry == ENTRIES // 2 and not self.killed.exists():
                    self.killed.write_text(str(os.getpid()))
                    os.kill(os.getpid(), signal.SIGKILL)
        return shard_path(self.folder, "train", number)

    @property
    def killed(self) -> Path:
        return self.folder / "killed"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("train-*")}


def test_a_killed_worker_is_replaced_and_nothing_is_lost_or_doubled(engine, tmp_path, caplog):
    whole = tmp_path / "whole"
    assert len(list(map_shards(ShardMaker(whole), range(SHARDS), workers=1))) == SHARDS
    maker = ShardMaker(tmp_path / "made", doomed=2)
    made = dict(map_shards(maker, range(SHARDS), workers=2))
    assert made == {number: maker.folder / f"train-{number:05d}.parquet" for number in range(SHARDS)}
    assert maker.killed.read_text() != str(os.getpid())
    assert f"a worker was lost at 2 ({LOST[engine]}); another takes over, attempt 2" in caplog.messages
    finish_set(maker.folder, PAIRS, licence="", source="")
    keys = [row["key"] for row in open_set(maker.folder).iterate_rows()]
    assert sorted(keys) == [f"{number:05d}-{entry:03d}" for number in range(SHARDS) for entry in range(ENTRIES)]
    assert contents(maker.folder) == contents(whole)


def test_a_worker_killed_from_outside_is_replaced(engine, tmp_path):
    results = map_shards(Sleeper(tmp_path), range(4), workers=2)
    first, _ = next(results)
    # Both workers are at their second item, or one still at its first.
    victims = wait_until(lambda: {int(name.split("-")[1]) for name in os.listdir(tmp_path)})
    os.kill(victims.pop(), signal.SIGKILL)
    assert sorted([first, *(item for item, _ in results)]) == [0, 1, 2, 3]


def test_an_item_that_kills_each_of_its_workers_is_named(engine):
    message = rf"3 workers died at 3 \({LOST[engine]}\), .*; run again with a smaller COMPODIFF_WORKERS"
    with pytest.raises(ResourceUnavailable, match=message):
        list(map_shards(die_on_three, range(20), workers=2))


def test_items_are_read_as_workers_get_free(engine):
    given: list[int] = []

    def many():
        for number in range(1000):
            given.append(number)
            yield number

    results = map_shards(Tagger(), many(), workers=2)
    for taken, _ in enumerate(results, 1):
        assert len(given) <= taken + 3
        if taken == 20:
            break
    results.close()
    assert len(given) < 30


def test_an_unknown_engine_is_refused(monkeypatch):
    monkeypatch.setenv("COMPODIFF_EXECUTION", "spark")
    with pytest.raises(InputInvalid, match="COMPODIFF_EXECUTION is 'spark'; set it to local or ray"):
        list(map_shards(Tagger(), range(3), workers=2))


def test_workers_see_one_gpu_each_and_share_only_where_more_are_asked_for(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    seen = {gpu for _, gpu in map_shards(which_gpu, range(6), workers=5)}
    assert seen == {"4", "6"}
    assert {gpu for _, gpu in map_shards(which_gpu, range(4), workers=2, on_gpu=False)} == {"4,6"}
    monkeypatch.setenv("COMPODIFF_WORKERS", "3")
    processes = {process for _, process in map_shards(which_gpu_and_process, range(9), workers=3)}
    assert len(processes) == 3
    assert {gpu for gpu, _ in processes} == {"4", "6"}


def test_ray_gives_each_actor_a_gpu_of_the_cluster_that_is_to_come(ray, monkeypatch):
    from compodiff.execution import crew

    monkeypatch.setenv("COMPODIFF_EXECUTION", "ray")
    monkeypatch.setenv("COMPODIFF_GPUS", "2")
    with monkeypatch.context() as impatient:
        impatient.setattr(crew, "PLACEMENT_SECONDS", 2)
        with pytest.raises(ResourceUnavailable, match=r"no worker started within 2 s; see if the cluster is full"):
            list(map_shards(which_gpu, range(4), workers=2))  # no GPU comes here: nothing may run without one
    assert list(map_shards(which_gpu, [1], workers=2, on_gpu=False)) == [(1, "")]
    monkeypatch.setenv("COMPODIFF_GPUS", "many")
    with pytest.raises(InputInvalid, match="COMPODIFF_GPUS is 'many'; set it to how many GPUs"):
        list(map_shards(which_gpu, range(4), workers=2))


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
    workers = [int(pid) for pid in os.listdir(tmp_path / "pids")]
    wait_until(lambda: not any(is_alive(worker) for worker in workers))


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def test_the_environment_sets_the_number_of_workers(monkeypatch):
    monkeypatch.delenv("COMPODIFF_WORKERS", raising=False)
    assert count_workers() == count_usable_cores()
    monkeypatch.setenv("COMPODIFF_WORKERS", "7")
    assert count_workers() == 7
    for text in ("0", "many", "-1", ""):
        monkeypatch.setenv("COMPODIFF_WORKERS", text)
        with pytest.raises(InputInvalid, match="set it to a number of processes, 1 or more"):
            count_workers()
