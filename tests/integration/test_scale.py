"""Ray on two local workers is about as fast as two local processes, over shards of scenes that make_set makes."""

import os
import time
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import pytest
from factories import make_scenes_params

from compodiff.catalogue.pictures import Catalogue
from compodiff.execution import map_shards
from compodiff.recipes.made import ShardMaker, ShardPlan, plan_shards
from compodiff.scenes.generator import SpriteGenerator, make_sprite_pairs

ALLOWED = 1.15
ORDER = ("local", "ray", "ray", "local")  # what slows the machine down meanwhile meets both
SCENES = make_scenes_params(train=150)
ROWS_PER_SHARD = 256


@dataclass(frozen=True)
class Making:
    """The real maker; says how long its shards took on the CPU."""

    data: Path

    def __call__(self, plan: ShardPlan) -> float:
        began = time.process_time()
        self._maker(plan)
        return time.process_time() - began

    @cached_property
    def _maker(self) -> ShardMaker:
        return ShardMaker(partial(SpriteGenerator, self.data, SCENES))


@pytest.fixture
def ray(monkeypatch):
    ray = pytest.importorskip("ray", reason="pip install '.[ray]'")
    from compodiff.execution.on_ray import connect

    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here}{os.pathsep}{here.parent}", prepend=os.pathsep)
    connect()
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_ray_is_as_fast_as_local_processes(ray, small_data, tmp_path, monkeypatch, capsys):
    pairs = list(make_sprite_pairs(Catalogue.load(small_data), SCENES))
    seconds = dict.fromkeys(ORDER, 0.0)
    made: dict[str, dict[str, bytes]] = {}
    for turn, engine in enumerate(ORDER):
        monkeypatch.setenv("COMPODIFF_EXECUTION", engine)
        folder = tmp_path / str(turn)
        folder.mkdir()
        plans = list(plan_shards(folder, pairs, ROWS_PER_SHARD))
        began = time.perf_counter()
        assert len(list(map_shards(Making(small_data), plans, workers=2))) == len(plans)
        seconds[engine] += time.perf_counter() - began
        made[engine] = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert made["local"] == made["ray"]
    ratio = seconds["ray"] / seconds["local"]
    with capsys.disabled():
        print(f"\n{len(pairs)} triplets in {len(plans)} shards: {seconds} s, ray/local {ratio:.3f}")  # noqa: T201
    assert ratio <= ALLOWED
