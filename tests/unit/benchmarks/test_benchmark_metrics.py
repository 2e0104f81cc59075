import numpy as np
import pytest

from compodiff.benchmarks.scoring.metrics import average_groups, average_precision_at_k
from compodiff.outcomes import Bootstrap


def test_average_precision_by_hand():
    """Hits at 1 and 4 of three truths: (1/1 + 2/4) / min(3, K); a truth outside K or unranked adds nothing."""
    ranks = np.array([[4, 1, np.iinfo(np.int64).max, 2]])
    relevant = np.array([[True, True, True, False]])
    total = np.array([3])
    assert average_precision_at_k(ranks, relevant, total, 10) == pytest.approx((1 + 0.5) / 3)
    assert average_precision_at_k(ranks, relevant, total, 2) == pytest.approx(1 / 2)
    assert average_precision_at_k(ranks, relevant, np.array([50]), 10) == pytest.approx((1 + 0.5) / 10)


def test_groups_overlap_and_count_their_queries():
    outcomes = {"recall_at_1": np.array([1.0, 0.0, 1.0])}
    found = average_groups(outcomes, [("a", "b"), ("b",), ()])
    assert found == {"a": {"recall_at_1": 1.0, "queries": 1}, "b": {"recall_at_1": 0.5, "queries": 2}}


def test_the_bootstrap_covers_the_mean_it_is_said_to_cover():
    """Of 200 repetitions of an experiment with a known mean, about 95 % of the intervals hold it."""
    generator = np.random.default_rng(0)
    bootstrap = Bootstrap(draws=200, seed=1)
    covered = 0
    for _ in range(200):
        hits = (generator.random(150) < 0.3).astype(float)
        low, high = bootstrap.estimate_intervals([{"hit": hits}], [[""] * 150])["hit"]
        covered += low <= 0.3 <= high
    assert 180 <= covered <= 198


def test_queries_of_one_concept_are_drawn_together():
    """Ten concepts whose queries agree say as much as ten queries, not as a thousand."""
    hits = np.repeat([1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0], 100)
    concepts = [str(i) for i in range(10) for _ in range(100)]
    bootstrap = Bootstrap(draws=500, seed=1)
    low, high = bootstrap.estimate_intervals([{"hit": hits}], [concepts])["hit"]
    alone_low, alone_high = bootstrap.estimate_intervals([{"hit": hits}], [[""] * 1000])["hit"]
    assert high - low > 5 * (alone_high - alone_low)


def test_parts_weigh_the_same_whatever_their_size():
    parts = [{"hit": np.ones(10)}, {"hit": np.zeros(1000)}]
    low, high = Bootstrap(draws=50, seed=1).estimate_intervals(parts, [[""] * 10, [""] * 1000])["hit"]
    assert low == high == 0.5


@pytest.mark.parametrize(("level", "deviations"), [(0.95, 1.960), (0.8, 1.282)])
def test_of_many_queries_an_interval_is_that_of_the_normal_distribution(level, deviations):
    outcomes = np.random.default_rng(0).normal(size=300)
    bootstrap = Bootstrap(draws=4000, seed=1) if level == 0.95 else Bootstrap(draws=4000, seed=1, level=level)
    ends = np.array(bootstrap.estimate_intervals([{"gain": outcomes}], [[""] * 300])["gain"])
    error = outcomes.std() / 300**0.5
    # Measured 0.016 at most.
    assert (ends - outcomes.mean()) / error == pytest.approx([-deviations, deviations], abs=0.03)


def test_each_part_has_its_concepts():
    with pytest.raises(ValueError, match="zip"):
        Bootstrap(draws=1, seed=1).estimate_intervals([{"hit": np.ones(2)}, {"hit": np.ones(2)}], [["a", "b"]])
