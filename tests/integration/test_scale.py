"""Ray on two local workers is about as fast as two local processes, over shards that synthesize makes."""

import json
import os
import time
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import pytest
from compodiff.triplets.emoji import make_caption_pairs
from compodiff.triplets.making import ShardPlan, TripletMaker, plan_shards
from factories import make_synthesis_params

from compodiff.catalogue.pictures import Catalogue
from compodiff.execution import map_shards
from compodiff.pairs.pair import CatalogueGenerator

ALLOWED = 1.15
COPIES = 20  # of the small catalogue's pairs, so that a run is longer than its workers' start
ORDER = ("local", "ray", "ray", "local")  # what slows the machine down meanwhile meets both
PARAMS = make_synthesis_params(captions_per_pair=9, max_pairs_per_relation=8000, pairs_per_shard=512)


@dataclass(frozen=True)
class Making:
    """The real maker, in a process that is told of the tiny CLIP first; says how long its shards took on the CPU."""

    data: Path
    encoder: Path
    config: Path

    def __call__(self, plan: ShardPlan) -> float:
        began = time.process_time()
        self._maker(plan)
        return time.process_time() - began

    @cached_property
    def _maker(self) -> TripletMaker:
        import open_clip
        import torch

        open_clip.add_model_config(self.config)
        torch.set_num_threads(1)
        return TripletMaker(partial(CatalogueGenerator, self.data), self.encoder, PARAMS.floors, PARAMS.batch_size)


@pytest.fixture
def ray(monkeypatch):
    ray = pytest.importorskip("ray", reason="pip install '.[ray]'")
    from compodiff.execution.on_ray import connect

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    connect()
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_ray_is_as_fast_as_local_processes(ray, small_data, tiny_encoder, tmp_path, monkeypatch, capsys):
    import open_clip

    from compodiff.encoders import save_encoder

    save_encoder(tiny_encoder, tmp_path / "encoder")
    config = tmp_path / "compodiff-tiny.json"
    config.write_text(json.dumps(open_clip.get_model_config("compodiff-tiny")))
    worded = make_caption_pairs(Catalogue.load(small_data), PARAMS)
    pairs = [replace(pair, key=f"{pair.key}-{copy}") for copy in range(COPIES) for pair in worded]
    making = Making(small_data, tmp_path / "encoder", config)
    seconds = dict.fromkeys(ORDER, 0.0)
    made: dict[str, dict[str, bytes]] = {}
    for turn, engine in enumerate(ORDER):
        monkeypatch.setenv("COMPODIFF_EXECUTION", engine)
        plans = plan_shards(tmp_path / str(turn), pairs, PARAMS.pairs_per_shard)
        began = time.perf_counter()
        assert len(list(map_shards(making, plans, workers=2))) == len(plans)
        seconds[engine] += time.perf_counter() - began
        made[engine] = {plan.path.name: plan.path.read_bytes() for plan in plans}
    assert made["local"] == made["ray"]
    ratio = seconds["ray"] / seconds["local"]
    with capsys.disabled():
        print(f"\n{len(pairs)} triplets in {len(plans)} shards: {seconds} s, ray/local {ratio:.3f}")  # noqa: T201
    assert ratio <= ALLOWED
