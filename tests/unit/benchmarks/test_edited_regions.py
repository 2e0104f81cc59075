"""Preserve and edit: the target has both, the reference keeps all and changes nothing, an unrelated picture neither."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compodiff.benchmarks.datasets.own import load_triplets
from compodiff.benchmarks.edited_regions import (
    ARRIVED,
    KEPT,
    RegionEncoder,
    measure_arrived,
    measure_edits,
    measure_kept,
)
from compodiff.benchmarks.report.comparison import compare_rows
from compodiff.benchmarks.report.showcase import ScoredRow
from compodiff.benchmarks.scoring.ranking import Similarity
from compodiff.benchmarks.scoring.scorer import Scorer
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.outcomes.bootstrap import Bootstrap
from compodiff.params import SceneQueries, ScenesBenchmarkParams, load_params
from compodiff.scenes.benchmark import write_scenes

BOOTSTRAP = Bootstrap(draws=20, seed=1)
EVALUATION = load_params(Path(__file__).parents[3] / "params.yaml").evaluation.model_copy(
    update={"bootstrap_draws": 20, "edited_queries": 12}
)
PARAMS = ScenesBenchmarkParams(
    recipe="scenes", reads="data", gate=None, seed=5, families=SceneQueries(validation=1, test=4), edits_per_relation=1
)


@pytest.fixture(scope="module")
def folder(small_catalogue, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, small_catalogue, PARAMS)
    return folder


@pytest.fixture(scope="module")
def regions(folder, tiny_encoder):
    return RegionEncoder(folder, lambda: tiny_encoder)


def measure(part, regions, answers, most=12):
    """Measure rows whose first answer to each query is the picture that `answers` names."""
    generator = np.random.default_rng(3)
    vectors = Vectors(part.gallery, generator.standard_normal((len(part.gallery), 64)))
    # The reference is never ranked; here it may be the answer.
    part = replace(part, protocol=replace(part.protocol, excludes_reference=False))
    rows = {}
    for name, pick in answers.items():
        asked = Similarity((vectors.embeddings[[vectors.rows[pick(query)] for query in part.queries]],))
        rows[name] = [ScoredRow(asked, Scorer(chunk=100).score(part, vectors, asked))]
    return measure_edits(rows, vectors, regions, BOOTSTRAP, most, 100)


def test_the_target_has_both_the_reference_keeps_and_an_unrelated_picture_has_little(folder, regions):
    (part,) = load_triplets(folder, "test")
    assert all(query.edited for query in part.queries)
    names = {query.reference: query.concept for query in part.queries}
    found = measure(
        part,
        regions,
        {
            "target": lambda query: query.targets[0],
            "reference": lambda query: query.reference,
            "unrelated": lambda query: next(name for name, concept in names.items() if concept != query.concept),
        },
    )
    assert found["target"][KEPT] == pytest.approx((1, 1, 1), abs=0.01)  # a small CLIP resizes across the edge
    assert found["target"][ARRIVED] == pytest.approx((1, 1, 1), abs=1e-9)
    assert found["reference"][KEPT] == pytest.approx((1, 1, 1), abs=1e-9)
    assert found["reference"][ARRIVED] == pytest.approx((0, 0, 0), abs=1e-9)
    assert found["unrelated"][KEPT][0] < 0.35
    assert found["unrelated"][ARRIVED][0] < 0.7  # a CLIP of random weights hardly tells one ground from another
    low, high = found["unrelated"][KEPT][1:]
    assert low <= found["unrelated"][KEPT][0] <= high


def test_each_picture_is_embedded_once(folder, regions, monkeypatch):
    (part,) = load_triplets(folder, "test")
    answers = {"target": lambda query: query.targets[0]}
    before = measure(part, regions, answers)
    with monkeypatch.context() as patched:
        patched.setattr(RegionEncoder, "_prepare", None)
        assert measure(part, regions, answers) == before


def test_without_regions_nothing_is_measured(folder, regions):
    (part,) = load_triplets(folder, "test")
    without = replace(part, queries=tuple(replace(query, edited="", mask="") for query in part.queries))
    assert measure(without, regions, {"target": lambda query: query.targets[0]}) == {}


def test_the_composition_gap_is_of_metrics_alone_where_edits_are_measured(folder, regions):
    (part,) = load_triplets(folder, "test")
    vectors = Vectors(part.gallery, np.random.default_rng(3).standard_normal((len(part.gallery), 64)))
    picks = {"image_only": lambda query: query.reference, "text_only": lambda query: query.reference}
    picks["composed"] = lambda query: query.targets[0]
    rows = {
        name: [Similarity((vectors.embeddings[[vectors.rows[pick(query)] for query in part.queries]],))]
        for name, pick in picks.items()
    }
    comparison = compare_rows([part], vectors, rows, Scorer(chunk=100), EVALUATION)
    before = comparison.measure_composition_gap().keys()
    told = comparison.measure_edits(vectors, regions, EVALUATION).describe_result()
    assert told["metrics"].keys() >= {KEPT, ARRIVED}
    assert told["composition_gap"].keys() == before


def test_measures_by_hand():
    along = {"r": [1.0, 0.0], "t": [0.0, 1.0], "half": [1.0, 1.0], "u": [0.0, -1.0]}
    r, t, half, u = (np.array([vector]) for vector in along.values())
    assert measure_arrived(t, r, t) == pytest.approx([1])
    assert measure_arrived(half, r, t) == pytest.approx([np.sqrt(0.5)])  # d(a, t) = 1 - 0.71, d(r, t) = 1
    assert measure_arrived(u, r, t) == pytest.approx([0])
    assert np.isnan(measure_arrived(t, r, r)).all(), "where the encoder sees no change, nothing is said"
    assert measure_kept(half, r, u) == pytest.approx([np.sqrt(0.5)])
    assert measure_kept(-r, r, u) == pytest.approx([0])
