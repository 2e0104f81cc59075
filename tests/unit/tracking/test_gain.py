"""Two models compared query by query: what is gained beyond doubt, and how often a gain is seen where there is none."""

from dataclasses import replace

import numpy as np
import pytest
from factories import make_benchmark_gate
from worlds.operated import ROOT

from compodiff.errors import InputInvalid
from compodiff.outcomes import Bootstrap, QueryOutcomes, estimate_gain
from compodiff.params import load_params
from compodiff.tracking.gate import Gates, Model, list_objections

GATES = {name: make_benchmark_gate(floor=0.0, margin=0.0, max_plausible_loss=0.05) for name in ("emoji", "scenes")}
BOOTSTRAP = Bootstrap(draws=200, seed=1)
CONCEPTS = [str(query // 4) for query in range(400)]


def outcomes(hits: list[float], **changes: object) -> QueryOutcomes:
    queries = [f"query {number}" for number in range(len(hits))]
    concepts = CONCEPTS[: len(hits)]
    return replace(QueryOutcomes(queries, [""] * len(hits), concepts, {"recall_at_10": hits}, BOOTSTRAP), **changes)


def draw(generator: np.random.Generator, gain: float = 0.0) -> tuple[Model, Model]:
    """Make a challenger and a champion that answer most queries alike, as two trainings do; concepts are hard or easy.

    The challenger answers a share of `gain` more.
    """
    new, old = Model(figures := {}, answered := {}), Model(old_figures := {}, old_answered := {})
    for name in GATES:
        ease = np.repeat(generator.beta(2, 1, size=100), 4)
        common = generator.random(400) < 0.6
        shared = generator.random(400)
        for numbers, kept, more in ((figures, answered, gain), (old_figures, old_answered, 0.0)):
            hits = (np.where(common, shared, generator.random(400)) < ease + more).astype(float)
            composed = f"{name}/composed"
            numbers[f"{composed}/recall_at_10"] = float(hits.mean())
            numbers |= {f"{composed}/intervals/recall_at_10/{end}": float(hits.mean()) for end in ("low", "high")}
            kept[name] = outcomes(hits.tolist())
    return new, old


def count_promotions(repetitions: int, gain: float, gates: Gates = GATES) -> int:
    generator = np.random.default_rng(5)
    pairs = (draw(generator, gain) for _ in range(repetitions))
    return sum(not list_objections(new, old, gates, min_relation_queries=50) for new, old in pairs)


def test_of_equal_models_less_than_one_in_fifty_is_promoted_and_of_better_ones_most() -> None:
    assert count_promotions(100, 0.0) <= 2
    assert count_promotions(10, 0.1) >= 8


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_of_two_thousand_equal_models_less_than_two_percent_are_promoted() -> None:
    asked = load_params(ROOT / "params.yaml").gates
    promoted = count_promotions(2000, 0.0, {name: asked[name].model_copy(update={"floor": 0.0}) for name in GATES})
    print(f"\n{promoted} of 2,000 equal models promoted")  # noqa: T201
    assert promoted < 40


def test_compared_query_by_query_a_small_gain_is_beyond_doubt() -> None:
    """Ten of four hundred queries more, none less: too little for two intervals that are taken for independent."""
    old = (np.random.default_rng(0).random(400) < 0.5).astype(float)
    new = old.copy()
    new[np.flatnonzero(old == 0)[::20]] = 1
    low, high = estimate_gain(outcomes(new.tolist()), outcomes(old.tolist()), "recall_at_10", level=0.99) or (0, 0)
    assert 0 < low < (new.mean() - old.mean()) < high
    alone = BOOTSTRAP.estimate_intervals([{"hit": old}], [CONCEPTS])["hit"]
    assert alone[1] - alone[0] > 2 * (high - low)


def test_queries_are_matched_by_what_they_are_and_not_by_their_order() -> None:
    hits = [1.0, 0.0, 0.0, 1.0]
    there = outcomes(hits)
    back = outcomes(hits[::-1], queries=there.queries[::-1])
    assert estimate_gain(there, back, "recall_at_10", level=0.95) == (0.0, 0.0)


def test_a_part_weighs_the_same_whatever_its_size() -> None:
    parts = ["large"] * 9 + ["small"]
    new, old = (outcomes([hit] * 9 + [1 - hit], parts=parts, concepts=[""] * 10) for hit in (1.0, 0.0))
    assert estimate_gain(new, old, "recall_at_10", level=0.95) == (0.0, 0.0)


@pytest.mark.parametrize("queries", [["other", "query 1"], ["query 0"]])
def test_models_that_answered_other_queries_are_not_compared_query_by_query(queries: list[str]) -> None:
    hits = [1.0] * len(queries)
    other = outcomes(hits, queries=queries)
    assert estimate_gain(outcomes([1.0, 1.0]), other, "recall_at_10", level=0.95) is None
    assert estimate_gain(outcomes([1.0, 1.0]), outcomes([1.0, 1.0]), "map_at_5", level=0.95) is None


def test_what_is_written_is_read_and_what_is_damaged_is_refused() -> None:
    written = outcomes([1.0, 0.5]).to_json()
    assert QueryOutcomes.from_json(written, "outcomes.json") == outcomes([1.0, 0.5])
    for name in written:
        with pytest.raises(InputInvalid, match=r"outcomes\.json does not hold the outcomes of queries"):
            QueryOutcomes.from_json({key: value for key, value in written.items() if key != name}, "outcomes.json")
    for damaged in ([], {**written, "queries": []}, {**written, "outcomes": {"recall_at_10": [1.0]}}):
        with pytest.raises(InputInvalid, match="evaluate the model again"):
            QueryOutcomes.from_json(damaged, "outcomes.json")
