"""Experiments that train, over a small catalogue of real pictures, a few updates each."""

import csv
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from compodiff.catalogue.to_embed import collect_material
from typer.testing import CliRunner

from compodiff.catalogue.captions import list_relative_captions
from compodiff.catalogue.emoji_benchmark import SPLITS, read_queries, write_benchmark
from compodiff.catalogue.pictures import Catalogue
from compodiff.cli import app
from compodiff.embeddings import Embeddings, make_embeddings
from compodiff.experiments import training
from compodiff.experiments.embedded_benchmark import open_emoji_benchmark
from compodiff.experiments.setup import ExperimentSetup
from compodiff.params import load_params
from compodiff.storage.atomic import replace_folder

SMALLER = {
    "denoiser": {"width": 16, "depth": 1, "heads": 2, "cross_heads": 2, "head_width": 8, "feed_forward_factor": 2},
    "prior": {"batch_size": 8, "validation_queries": 10},
    "composed": {"batch_size": 10, "validation_queries": 10},
    "benchmark": {"max_queries_per_relation": 6},
    "embedding": {"batch_size": 64},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory, small_data, tiny_encoder):
    """A project whose pipeline has run as far as the prior."""
    root = tmp_path_factory.mktemp("trained")
    content = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    for section, changes in SMALLER.items():
        content[section] |= changes
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    shutil.copytree(small_data, root / "data")
    params, catalogue, artifacts = load_params(root / "params.yaml"), Catalogue.load(root / "data"), root / "artifacts"
    write_benchmark(artifacts / "benchmark", catalogue, params.benchmark)
    pairs = catalogue.relations[catalogue.relations["split"] == "train"]
    accepted = pairs.assign(
        relative_caption=[
            list_relative_captions(row.relation, row.reference_term, row.target_term)[0] for row in pairs.itertuples()
        ]
    )
    with replace_folder(artifacts / "validation", "validation") as folder:
        accepted[accepted["reference"] != accepted["target"]].to_parquet(folder / "accepted.parquet")
    asked = [query.relative_caption for split in SPLITS for query in read_queries(artifacts / "benchmark", split)]
    material = collect_material(catalogue, [*accepted["relative_caption"], *asked])
    make_embeddings(artifacts / "embeddings", tiny_encoder, material, params.embedding)
    ground = ground_of(root, params)
    training.train_stage_one(ground, training.open_all_data(ground))
    (model,) = [path for path in ground.work.iterdir() if path.is_dir()]
    shutil.copytree(model, artifacts / "prior")
    return root


def ground_of(root, params, steps=2):
    embeddings = Embeddings.load(root / "artifacts" / "embeddings")
    bench = open_emoji_benchmark(root / "artifacts" / "benchmark", embeddings, "validation", params.evaluation.chunk)
    work = root / "artifacts" / "experiments" / "models"
    return ExperimentSetup(root, params, embeddings, bench, True, "validation", steps, work)


def run(project, monkeypatch, name):
    monkeypatch.chdir(project)
    result = CliRunner().invoke(app, ["experiment", name, "--no-track", "--training-steps", "2"])
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


@pytest.mark.parametrize("name", ["text-encoder", "objective"])
def test_other_experiments_that_train(project, monkeypatch, name):
    assert len(run(project, monkeypatch, name)) == 3


def test_text_variants_have_one_token_each_but_the_first(project):
    embeddings = Embeddings.load(project / "artifacts" / "embeddings")
    variants = training.list_text_variants(embeddings)
    tokens, lengths = embeddings.read_tokens([5])
    mean, one = variants["mean of token states"].read_tokens([5])
    assert (lengths > 1).all()
    assert one.tolist() == [1]
    assert mean[0] == pytest.approx(tokens.astype(float).mean(axis=0), abs=2e-3)
    pooled, one = variants["pooled embedding"].read_tokens([5, 6])
    assert one.tolist() == [1, 1]
    assert pooled.shape == (2, tokens.shape[1])


def test_a_bench_of_one_style_ranks_and_asks_that_style_only(project):
    ground = ground_of(project, load_params(project / "params.yaml"))
    style = Catalogue.load(project / "data").pictures["style"].to_dict()
    bench = ground.bench.select_pictures(lambda picture: style[picture] == "twemoji")
    (part,) = bench.parts
    assert {style[name] for name in part.gallery or ()} == {"twemoji"}
    assert 0 < bench.queries < ground.bench.queries
    assert pd.Series([style[query.reference] for query in part.queries]).eq("twemoji").all()
