"""Negatives, paraphrases, several references and whole rankings, against evaluators written as their authors do it."""

import json

import numpy as np
import pytest
from factories import compute_cosines
from typer.testing import CliRunner

from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery
from compodiff.benchmarks.datasets.own import load_triplets
from compodiff.benchmarks.datasets.pictures import FilePictures
from compodiff.benchmarks.report.comparison import compare_rows
from compodiff.benchmarks.scoring.metrics import integrate_precision, measure_spread
from compodiff.benchmarks.scoring.ranking import Similarity
from compodiff.benchmarks.scoring.scorer import Scorer
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.cli import app
from compodiff.errors import InputInvalid
from compodiff.params import EvaluationParams

NAMES = tuple(f"p{number}" for number in range(60))
PARAMS = EvaluationParams(
    seed=1,
    bootstrap_draws=50,
    chunk=7,
    text_weights=[0.5],
    product_offsets=[0.0],
    edited_queries=1,
    min_relation_queries=1,
    shown_queries=1,
    shown_pictures=1,
)


def make(queries, **protocol):
    return Benchmark("made", "test", tuple(queries), BenchmarkProtocol(recall_ks=(1,), **protocol), NO_PICTURES, NAMES)


NO_PICTURES = FilePictures(lambda name: [])
DRAWN = np.random.default_rng(5)
GALLERY, QUERIES = DRAWN.normal(size=(60, 6)), DRAWN.normal(size=(8, 6))


def ask(place, **more):
    own = {"targets": tuple(NAMES[place : place + 4]), "negatives": tuple(NAMES[30 + place : 42 + place])}
    return BenchmarkQuery(str(place), "p59", "", ("",), **(own | more))


@pytest.mark.parametrize("excludes", [False, True])
def test_pinpoints_metrics_equal_its_evaluation(excludes):
    queries = [ask(0, negatives=()), *(ask(place) for place in range(1, 7)), ask(7, also_references=("p58",))]
    protocol = {"precision_ks": (10,), "map_ks": (10,), "negative_ks": (5, 10), "excludes_reference": excludes}
    scored = Scorer(chunk=7).score(make(queries, **protocol), Vectors(NAMES, GALLERY), Similarity((QUERIES,)))
    order = np.argsort(-compute_cosines(QUERIES, GALLERY), axis=1)
    for place, query in enumerate(queries):
        ranked = [NAMES[row] for row in order[place] if not excludes or NAMES[row] not in query.references]
        top = ranked[:10]
        hits = [name in query.targets for name in top]
        precision = sum(sum(hits[: i + 1]) / (i + 1) for i in range(10) if hits[i])
        assert scored.outcomes["precision_at_10"][place] == pytest.approx(sum(hits) / 10)
        assert scored.outcomes["map_at_10"][place] == pytest.approx(precision / 4)
        for k in (5, 10):
            found = len({*ranked[:k]} & {*query.negatives})
            expected = found / min(len(query.negatives), k) if query.negatives else 0
            assert scored.outcomes[f"negative_recall_at_{k}"][place] == pytest.approx(expected)


def test_whole_rankings_are_integrated_as_icir_does():
    ranks = np.array([[1, 5, 9], [4, 2, 2**52]])

    def by_the_trapezoidal_rule(places):
        before = [1.0 if place == 0 else hit / place for hit, place in enumerate(places)]
        return sum((b + (hit + 1) / (place + 1)) / 2 for hit, (place, b) in enumerate(zip(places, before, strict=True)))

    found = integrate_precision(ranks, np.ones((2, 3), np.bool_), np.array([3, 3]))
    assert found == pytest.approx([by_the_trapezoidal_rule([0, 4, 8]) / 3, by_the_trapezoidal_rule([1, 3]) / 3])


def test_the_spread_is_of_queries_that_word_one_intent():
    outcomes = {"map_at_10": np.array([0.2, 0.8, 0.5, 0.1, 0.3])}
    found = measure_spread(outcomes, ["a", "a", "b", "", "a"])
    assert found["intents"] == 1  # b has one wording
    assert found["range"]["map_at_10"] == pytest.approx(0.6)
    assert found["deviation"]["map_at_10"] == pytest.approx(np.std([0.2, 0.8, 0.3]))
    assert measure_spread(outcomes, [""] * 5) == {}


def test_the_composition_gap_is_over_the_better_modality():
    parts = [make([ask(place, negatives=()) for place in range(8)], map_ks=(5,))]
    better = GALLERY[:8] + 0.4 * DRAWN.normal(size=(8, 6))
    rows = {
        "image_only": [Similarity((QUERIES,))],
        "text_only": [Similarity((GALLERY[:8] + 2 * DRAWN.normal(size=(8, 6)),))],
        "composed": [Similarity((better,))],
    }
    comparison = compare_rows(parts, Vectors(NAMES, GALLERY), rows, Scorer(chunk=9), PARAMS)
    gaps = comparison.describe_result()["composition_gap"]
    assert gaps.keys() == {"recall_at_1", "map_at_5"}
    for metric, gap in gaps.items():
        alone = {row: comparison.summaries[row]["metrics"][metric] for row in ("image_only", "text_only")}
        assert gap["against"] == max(alone, key=alone.__getitem__)
        assert gap["gap"] == comparison.summaries["composed"]["metrics"][metric] - max(alone.values())
        low, high = gap["interval"]
        assert low <= gap["gap"] <= high
    assert gaps["map_at_5"]["gap"] > 0


def write(root, *queries):
    (root / "queries.jsonl").write_text("".join(f"{json.dumps(query)}\n" for query in queries))


def test_triplets_take_further_references_negatives_and_intents(tmp_path):
    query = {"reference": "p0.png", "relative_caption": "x", "target": "p1"}
    harder = query | {"references": ["p2.png"], "negatives": ["p3.jpg"], "intent": "i"}
    write(tmp_path, query | {"intent": "i"}, harder)
    (benchmark,) = load_triplets(tmp_path, "test")
    assert benchmark.queries[1].references == ("p0", "p2")
    assert benchmark.protocol.negative_ks == (10,)
    np.savez(tmp_path / "G.npz", ids=np.array(NAMES[:14]), embeddings=np.eye(14, 6) + 0.1)
    np.savez(tmp_path / "Q.npz", embeddings=np.eye(14, 6)[[1, 3]] + 0.1)
    files = ["--gallery", str(tmp_path / "G.npz"), "--queries", str(tmp_path / "Q.npz")]
    told = ["benchmark", "score", "triplets", "--root", str(tmp_path), *files]
    result = CliRunner().invoke(app, [*told, "--json"])
    found = json.loads(result.stdout)
    assert found["metrics"]["negative_recall_at_10"] == 0.5  # of two queries one has a negative, which is found
    assert found["paraphrases"]["range"]["recall_at_1"] == 1
    assert found["record"]["k"]["negatives"] == [10]
    assert "spread over paraphrases, map at 10: 100.00" in CliRunner().invoke(app, told).stdout
    write(tmp_path, query | {"references": ["p1"]})
    with pytest.raises(InputInvalid, match="'p1' is both reference and target"):
        load_triplets(tmp_path, "test")
