from dataclasses import replace

import numpy as np
import pytest

from compodiff.speed.scale import PlannedSynthesis, SynthesisCosts, predict, simulate
from compodiff.speed.synthesis import estimate_seconds_per_picture

COSTS = SynthesisCosts(caption=0.001, picture=0.5, embed=0.01, keep=0.004)
CALM = PlannedSynthesis(triplets=31_000, keep_rate=0.31, per_shard=100, start=0, hours_between_kills=1e9, spread=0)


def test_without_kills_and_spread_it_is_arithmetic():
    assert COSTS.compute_pair_cost() == pytest.approx(1.025)
    # 100 drawn and embedded, the best 4 embedded by the filters, scored and written
    assert COSTS.compute_pair_cost(100, 4) == pytest.approx(0.001 + 200 * 0.5 + 208 * 0.01 + 4 * 0.004)
    assert CALM.shards == 1000
    for gpus in (1, 8, 64):
        seconds, kills = simulate(COSTS, CALM, gpus, np.random.default_rng(1))
        assert kills == 0
        assert seconds == pytest.approx(-(-1000 // gpus) * 102.5)


def test_candidates_are_drawn_for_every_caption_pair():
    many = replace(CALM, candidates=100, kept=4)
    assert many.shards == CALM.shards
    few, much = (predict(COSTS, it, [8])[0]["gpu_hours"] for it in (CALM, many))
    assert much / few == pytest.approx(COSTS.compute_pair_cost(100, 4) / COSTS.compute_pair_cost())


def test_more_gpus_take_less_time_and_hardly_more_hours():
    one, eight, many = predict(COSTS, PlannedSynthesis(triplets=200_000), [1, 8, 64])
    assert one["wall_hours"] > 7 * eight["wall_hours"] > 35 * many["wall_hours"]
    assert one["gpu_hours"] == pytest.approx(eight["gpu_hours"], rel=0.05)
    assert all(0.8 < row["share_of_ideal"] <= 1.0 for row in (one, eight, many))
    assert [one] == predict(COSTS, PlannedSynthesis(triplets=200_000), [1])


def test_kills_cost_the_shards_under_way_and_the_starts():
    often = PlannedSynthesis(triplets=31_000, per_shard=100, start=60, hours_between_kills=1)
    calm = PlannedSynthesis(triplets=31_000, per_shard=100, start=60, hours_between_kills=1e9)
    (slow, kills), (fast, none) = (simulate(COSTS, it, 8, np.random.default_rng(3)) for it in (often, calm))
    assert none == 0
    busy = 1000 * 102.5 / 3600
    assert kills == pytest.approx(busy, rel=0.5)  # about one an hour and worker
    assert fast < slow < 1.25 * fast


def test_a_picture_is_estimated_from_counted_work():
    assert estimate_seconds_per_picture() == pytest.approx(0.64, abs=0.01)
    assert estimate_seconds_per_picture(tflops=624) == pytest.approx(estimate_seconds_per_picture() / 2)
