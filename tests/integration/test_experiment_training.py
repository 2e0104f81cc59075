"""Experiments that train, over a small catalogue of real pictures, a few updates each."""

import csv

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from compodiff.catalogue.pictures import Catalogue
from compodiff.cli import app
from compodiff.embeddings import Embeddings
from compodiff.errors import InputInvalid
from compodiff.experiments import training
from compodiff.experiments.setup import ExperimentSetup
from compodiff.experiments.variants import EVERYTHING, MEAN, POOLED, TextView, VariantData, divide_anew, reduce_texts
from compodiff.sets import open_set
from compodiff.training.examples import IMAGE, TARGET


@pytest.fixture
def project(experiment_project):
    return experiment_project


@pytest.fixture
def data(project) -> VariantData:
    return VariantData.open(project / "artifacts", ["emoji", "emoji_edits", "scenes"])


def run(project, monkeypatch, name):
    monkeypatch.chdir(project)
    result = CliRunner().invoke(app, ["experiment", name, "--no-track", "--training-steps", "2", "--seeds", "1"])
    assert result.exit_code == 0, (result.output, result.exception)
    with (project / "artifacts" / "experiments" / name / "points.csv").open() as file:
        return list(csv.DictReader(file))


def test_task_mix_tells_what_stage_two_forgets(project, monkeypatch):
    points = run(project, monkeypatch, "task-mix")
    assert [point["tasks"] for point in points] == ["stage 1 alone", *training.MIXES]
    assert all(0 <= float(point["text_to_image_recall_at_10"]) <= 1 for point in points)


def test_data_scale_takes_growing_parts_and_a_second_run_trains_nothing(project, monkeypatch):
    points = run(project, monkeypatch, "data-scale")
    sizes = [int(point["triplets"]) for point in points]
    assert sizes == sorted(sizes)
    assert len(sizes) == len(training.FRACTIONS)
    monkeypatch.setattr(training, "fit", None)  # a training would fail
    assert run(project, monkeypatch, "data-scale")[-1]["recall_at_10"] == points[-1]["recall_at_10"]


def test_domain_transfer_tests_each_style_alone(project, monkeypatch):
    points = run(project, monkeypatch, "domain-transfer")
    assert {(point["trained_on"], point["tested_on"]) for point in points} == {
        (trained, tested) for trained in (*training.STYLES, "both") for tested in training.STYLES
    }


@pytest.mark.parametrize(("name", "count"), [("text-encoder", 3), ("objective", 3), ("distillation", 12)])
def test_other_experiments_that_train(project, monkeypatch, name, count):
    assert len(run(project, monkeypatch, name)) == count


def test_fractions_hold_each_other_and_every_relation_keeps_its_own_triplets(data):
    whole = data.sets["emoji_edits"]
    relation = np.searchsorted(whole.relation_starts, np.arange(len(whole.open_table("triplet"))), side="right")
    relation_of = {
        tuple(row): number for row, number in zip(whole.open_table("triplet").tolist(), relation, strict=True)
    }
    smaller = {tuple(row) for row in data.cut_triplets(0.2, 3).sets["emoji_edits"].open_table("triplet").tolist()}
    some = data.cut_triplets(0.5, 3).sets["emoji_edits"]
    rows = [tuple(row) for row in some.open_table("triplet").tolist()]
    assert smaller < set(rows) < relation_of.keys()
    assert len(some.negatives) == len(rows) == round(0.5 * len(relation))
    for start, end in zip(some.relation_starts, some.relation_starts[1:], strict=False):
        assert len({relation_of[row] for row in rows[start:end]}) == 1
    assert some.relation_starts[-1] == len(rows)


def test_a_style_keeps_the_examples_of_its_pictures_and_sets_without_it_give_their_share_away(data, project):
    style = Catalogue.load(project / "data").pictures["style"]
    names = frozenset(style.index[style == "twemoji"])
    own = data.select_pictures(names, "twemoji")
    kept = own.sets["emoji_edits"]
    opened, digests = open_set(project / "artifacts/sets/emoji_edits"), set()
    for row, scored in zip(opened.iterate_rows(), kept.embeddings.open_array("scored"), strict=True):
        if {row["reference"]["name"], row["target"]["name"]} <= names:
            digests |= {int(scored[0]), int(scored[1])}
    table = kept.open_table("triplet")
    assert 0 < len(table) < len(data.sets["emoji_edits"].open_table("triplet"))
    assert set(table[:, [IMAGE, TARGET]].reshape(-1).tolist()) <= digests
    assert not len(own.sets["scenes"].open_table("triplet"))
    shares = {"masked": {"emoji": 0.1, "scenes": 0.1}, "triplet": {"emoji_edits": 0.6, "scenes": 0.2}}
    divided = divide_anew(shares, own.sets)
    assert divided == {"masked": {"emoji": pytest.approx(0.2)}, "triplet": {"emoji_edits": pytest.approx(0.8)}}
    with pytest.raises(InputInvalid, match="no example is left"):
        divide_anew({"triplet": {"scenes": 1.0}}, own.sets)


def test_a_mixture_of_other_data_has_another_digest(data, project):
    tasks = ExperimentSetup.of_project(project, None, None, "validation", 2).params.composed.tasks
    whole, half, fewer = (it.mix(tasks) for it in (data, data.cut_triplets(0.5, 3), data.cut_triplets(0.4, 3)))
    assert len({it.digest for it in (whole, half, fewer, data.mix(tasks))}) == 3
    assert sum(share for own in half.shares.values() for share in own.values()) == pytest.approx(1)


@pytest.mark.parametrize(("texts", "expected"), [(TextView(MEAN), "mean"), (TextView(POOLED), "pooled")])
def test_reduced_texts_have_one_token_each_in_sets_and_benchmarks(project, data, texts, expected):
    of_set = VariantData.open(project / "artifacts", ["emoji"], texts).sets["emoji"].embeddings
    of_benchmark = Embeddings.load(project / "artifacts" / "benchmark_embeddings" / "emoji")
    for whole, reduced in (
        (data.sets["emoji"].embeddings, of_set),
        (of_benchmark, reduce_texts(of_benchmark, texts)),
    ):
        ((tokens, lengths),) = whole.read_tokens([3])
        ((one, ones),) = reduced.read_tokens([3, 1])
        assert (lengths > 1).all()
        assert ones.tolist() == [1, 1]
        assert one.shape == (2, tokens.shape[1])
        if expected == "mean":
            assert one[0] == pytest.approx(tokens.astype(float).mean(axis=0), abs=2e-3)
    ((whole_tokens, _),), ((tokens, _),) = (
        it.read_tokens([3]) for it in (of_benchmark, reduce_texts(of_benchmark, EVERYTHING))
    )
    assert whole_tokens.tolist() == tokens.tolist()


def test_a_bench_of_one_style_ranks_and_asks_that_style_only(project):
    setup = ExperimentSetup.of_project(project, None, None, "validation", 2)
    style = Catalogue.load(project / "data").pictures["style"].to_dict()
    benchmark = setup.benchmark.select_pictures(lambda picture: style[picture] == "twemoji")
    (part,) = benchmark.parts
    assert {style[name] for name in part.gallery or ()} == {"twemoji"}
    assert 0 < benchmark.queries < setup.benchmark.queries
    assert pd.Series([style[query.reference] for query in part.queries]).eq("twemoji").all()
