"""`compodiff compare` on a small project: every method once, a few updates each."""

import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from factories import make_encoder_manifest
from typer.testing import CliRunner
from worlds.tiny_models import save_cross_encoder

from compodiff.cli import app
from compodiff.errors import CompoDiffError, InputInvalid
from compodiff.experiments import training
from compodiff.experiments.compare import Answered, describe_point, merge_seeds
from compodiff.experiments.methods import FREE, METHODS, TRAINED, choose_answerable, find_methods
from compodiff.outcomes import Bootstrap

# What a machine that only trains and measures may lack; fine_tuned_sum goes through both stages.
NOT_INSTALLED = """
import sys

sys.modules.update(dict.fromkeys("prefect mlflow dvc dvc_data great_expectations duckdb faiss".split()))  # not there
from compodiff.cli import app

own = "--no-track --training-steps 1 --seeds 1 --benchmark".split()
app([*"experiment conditions".split(), *own, "emoji"], standalone_mode=False)
app([*"compare --methods fine_tuned_sum".split(), *own[:-1], "--benchmarks", "emoji"], standalone_mode=False)
"""


@pytest.fixture
def project(experiment_project):
    return experiment_project


def run(project, monkeypatch, *options):
    monkeypatch.chdir(project)
    result = CliRunner().invoke(app, ["compare", "--no-track", *options])
    if isinstance(result.exception, InputInvalid):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    with (project / "artifacts/experiments/compare/points.csv").open() as file:
        return result.stdout, list(csv.DictReader(file))


def test_every_method_is_a_row_and_a_second_run_trains_nothing(project, monkeypatch):
    # The experiment `objective` trains the two that are left out.
    names = [name for name in METHODS if name not in {"regression", "flow_matching"}]
    options = ("--training-steps", "2", "--benchmarks", "scenes")
    told, points = run(project, monkeypatch, *options, "--methods", ",".join(names))
    assert [point["method"] for point in points] == names
    assert all(name in told for name in names)
    for point in points:
        is_trained = point["method"] in TRAINED
        assert (float(point["parameters"]) > 0) == (float(point["training_seconds"]) > 0) == is_trained
        assert float(point["recall_at_1_low"]) <= float(point["recall_at_1"]) <= float(point["recall_at_1_high"])
        assert float(point["milliseconds_per_query"]) > 0
    assert {float(points[0][f"recall_at_10_gain{end}"]) for end in ("", "_low", "_high")} == {0}
    monkeypatch.setattr(training, "fit", None)  # a training would fail
    told, again = run(project, monkeypatch, *options, "--methods", "basic,text_target", "--json")
    before = {point["method"]: point["recall_at_10"] for point in points}
    assert {point["method"]: point["recall_at_10"] for point in again}.items() < before.items()
    assert json.loads(told)["notes"]["sources"]["basic"] == FREE["basic"].source


def test_untracked_experiments_need_no_tracking_pipeline_or_index(project):
    answered = subprocess.run(
        [sys.executable, "-c", NOT_INSTALLED], cwd=project, capture_output=True, text=True, check=False
    )
    assert answered.returncode == 0, answered.stderr
    assert "emoji validation, per cent" in answered.stdout


def test_seeds_and_equal_time_are_trained_for(project, monkeypatch):
    options = ("--methods", "fine_tuned_sum,image_only", "--benchmarks", "emoji,scenes", "--seeds", "2")
    _, points = run(project, monkeypatch, *options, "--training-seconds", "1")
    assert [(point["method"], point["benchmark"], point["seeds"]) for point in points] == [
        (method, benchmark, seeds)
        for method, seeds in (("fine_tuned_sum", "2"), ("image_only", "1"))
        for benchmark in ("emoji", "scenes")
    ]
    assert float(points[0]["recall_at_10_spread"]) >= 0
    assert points[2]["recall_at_10_spread"] == ""


def test_a_reranked_row_follows_each_and_says_what_it_takes(project, monkeypatch, tmp_path):
    save_cross_encoder(tmp_path / "reranker")
    options = ("--methods", "image_only", "--benchmarks", "scenes", "--rerank", str(tmp_path / "reranker"))
    _, (plain, reranked) = run(project, monkeypatch, *options, "--rerank-top", "5")
    assert reranked["method"] == "image_only + reranker"
    assert float(reranked["milliseconds_per_query"]) > float(plain["milliseconds_per_query"])
    assert reranked["recall_at_5"] == plain["recall_at_5"]
    assert reranked["recall_at_1_gain"] != ""


def test_what_is_unknown_is_named(project, monkeypatch):
    with pytest.raises(InputInvalid, match="there is no method 'transformer'; choose from: diffusion, "):
        run(project, monkeypatch, "--methods", "sum,transformer")
    for option in ("--methods", "--benchmarks"):
        with pytest.raises(InputInvalid, match=f"{option} is ' ,' and names none"):
            run(project, monkeypatch, "--methods", "sum", option, " ,")
    with pytest.raises(InputInvalid, match=r"params\.yaml has no benchmark other; it has: [^;]*$"):
        run(project, monkeypatch, "--methods", "sum", "--benchmarks", "other")
    with pytest.raises(InputInvalid, match="give one of --training-steps and --training-seconds"):
        run(project, monkeypatch, "--training-steps", "2", "--training-seconds", "2")


def test_where_texts_are_not_among_pictures_methods_that_need_them_are_left_out():
    apart = replace(make_encoder_manifest(), joint=None)
    assert choose_answerable(METHODS, make_encoder_manifest()) == METHODS
    left = choose_answerable(METHODS, apart)
    assert list(left) == ["diffusion", "regression", "flow_matching", "combiner", "fine_tuned_sum", "image_only"]
    with pytest.raises(InputInvalid, match=r"^basic, text_target: no text part .* shares the pictures' space; name "):
        choose_answerable(find_methods(["basic", "text_target"]), apart)


def test_a_folder_of_somebody_is_refused_before_anything_is_trained(project, monkeypatch, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    monkeypatch.chdir(project)
    result = CliRunner().invoke(app, ["compare", "--no-track", "--out", str(tmp_path)])
    assert isinstance(result.exception, CompoDiffError)
    assert "thesis.txt" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_gain_that_every_query_has_is_certain_however_far_the_methods_scatter():
    hits = np.random.default_rng(0).random(200)
    concepts = [[f"concept {row % 20}" for row in range(200)]]
    first, better = (Answered([{"recall_at_1": hits + more}], concepts, {}, {}, ((0.0,),)) for more in (0.0, 0.1))
    found = describe_point({"method": "better"}, better, first, Bootstrap(200, 1)).metrics
    assert found["recall_at_1_high"] - found["recall_at_1_low"] > 0.02
    assert found["recall_at_1_gain_low"] == pytest.approx(0.1) == found["recall_at_1_gain_high"]
    merged = merge_seeds([first, better])
    assert merged.metrics["recall_at_1"] == pytest.approx(hits.mean() + 0.05)
    assert merged.spread["recall_at_1"] == pytest.approx(0.05)
