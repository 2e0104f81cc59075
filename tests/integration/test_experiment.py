"""Experiments that ask a trained model, on a small project."""

import csv
import json
import re

import pytest
from PIL import Image
from typer.testing import CliRunner

from compodiff.cli import app
from compodiff.errors import CompoDiffError, InputInvalid
from compodiff.experiments import asking, registry
from compodiff.experiments.outcome import Chart, Measurement, average_runs, plot
from compodiff.experiments.registry import EXPERIMENTS, Experiment, log_fit
from compodiff.experiments.setup import ExperimentSetup
from compodiff.experiments.tables import BEGIN, END, write_figures


@pytest.fixture
def project(experiment_project):
    return experiment_project


def run(project, monkeypatch, name, *options):
    monkeypatch.chdir(project)
    result = CliRunner().invoke(app, ["experiment", name, "--no-track", "--seeds", "1", *map(str, options)])
    if isinstance(result.exception, CompoDiffError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    folder = project / "artifacts" / "experiments" / name
    with (folder / "points.csv").open() as file:
        points = list(csv.DictReader(file))
    with Image.open(folder / "plot.png") as image:
        image.load()
    return points, json.loads((folder / "outcome.json").read_text())


def test_guidance_is_a_grid_with_its_best_point(project, monkeypatch):
    points, outcome = run(project, monkeypatch, "guidance")
    assert len(points) == len(asking.W_IMAGE) * len(asking.W_TEXT)
    best = max(float(point["recall_at_1"]) for point in points)
    assert outcome["notes"]["best"]["recall_at_1"] == best
    assert outcome["notes"]["benchmark"] == "emoji validation"


def test_steps_solver_measures_recall_and_seconds(project, monkeypatch):
    monkeypatch.setattr(asking, "STEPS", (1, 3))
    points, _ = run(project, monkeypatch, "steps-solver", "--split", "test")
    assert {(point["solver"], point["num_inference_steps"]) for point in points} >= {("unipc", "3"), ("mean", "1")}
    assert all(float(point["seconds_per_query"]) > 0 for point in points)
    # An untrained residual network gives the reference, however it is asked.
    assert len({point["recall_at_10"] for point in points}) == 1


def test_draws_are_fused_in_three_ways(project, monkeypatch):
    monkeypatch.setattr(asking, "DRAWS", (1, 2))
    points, outcome = run(project, monkeypatch, "draws")
    assert len(points) == 2 * 2 * len(asking.FUSIONS)
    assert {point["sampler"] for point in points} == {"unipc, eta 0, 2 steps", "ddim, eta 1, 10 steps"}
    assert {"sampler", "fusion", "draws"} <= outcome["notes"]["best"].keys()


def test_conditions_are_told_apart(project, monkeypatch):
    points, _ = run(project, monkeypatch, "conditions")
    by_name = {point["conditions"]: point for point in points}
    # Emoji change there and back: the caption of the way back is a negative text. None has a mask.
    assert by_name.keys() == {"text", "reference", "both", "both, of negative", "both + negative"}
    assert 0 < int(by_name["both + negative"]["queries"]) <= int(by_name["both"]["queries"])
    # The untrained network knows the reference and nothing of the text.
    assert by_name["reference"]["recall_at_10"] == by_name["both"]["recall_at_10"]


def test_masked_queries_are_asked_with_and_without_their_masks(project, monkeypatch):
    points, outcome = run(project, monkeypatch, "conditions", "--benchmark", "scenes", "--split", "test")
    by_name = {point["conditions"]: int(point["queries"]) for point in points}
    assert by_name["both + mask"] == by_name["both, of mask"] > 0
    assert outcome["notes"]["benchmark"] == "scenes test"


def test_another_benchmark_is_asked_by_option(project, monkeypatch):
    with pytest.raises(InputInvalid, match=r"params\.yaml has no benchmark cirr; it has: emoji, exact_edits, scenes"):
        run(project, monkeypatch, "guidance", "--benchmark", "cirr")
    with pytest.raises(InputInvalid, match="there is no split 'train'; choose validation or test"):
        run(project, monkeypatch, "guidance", "--split", "train")
    with pytest.raises(InputInvalid, match="there is no experiment 'guidence'"):
        run(project, monkeypatch, "guidence")


def test_preservation_is_measured_where_regions_are_known(project, monkeypatch):
    points, outcome = run(project, monkeypatch, "preservation", "--split", "test")
    assert outcome["notes"]["benchmark"] == "scenes test"
    assert len(points) == len(asking.PRESERVING) * len(asking.EDITING)
    assert all(0 <= float(point[name]) <= 1 for point in points for name in ("kept", "arrived"))
    with pytest.raises(InputInvalid, match="no query of emoji validation says what is edited"):
        run(project, monkeypatch, "preservation", "--benchmark", "emoji")


def test_all_experiments_make_the_figures_of_a_page_and_are_measured_once(project, monkeypatch, tmp_path):
    monkeypatch.setattr(asking, "W_TEXT", (1.0, 2.0))
    some = {name: EXPERIMENTS[name] for name in ("guidance", "conditions")}
    monkeypatch.setattr(registry, "EXPERIMENTS", some)
    monkeypatch.chdir(project)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold figures\n{END}\nafter\n")
    command = ["experiment", "all", "--no-track", "--seeds", "2", "--out", str(tmp_path), "--document", str(page)]
    assert CliRunner().invoke(app, command).exit_code == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old figures" not in text
    digests = ExperimentSetup.of_project(project, None, None, "test", 1).digest_models()
    assert all(f"`{digest}`" in text for digest in digests.values())
    assert len(re.findall(r"^### ", text, re.MULTILINE)) == 2
    assert re.search(r"^\| both \| \d+ \| [\d.]+ ± [\d.]+ \|", text, re.MULTILINE)
    monkeypatch.setattr(Experiment, "run", None)  # measuring again would fail
    assert CliRunner().invoke(app, command).exit_code == 0
    assert page.read_text() == text


def test_a_page_without_a_place_for_figures_is_left_as_it_is(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project)
    monkeypatch.setattr(registry, "EXPERIMENTS", {})
    page = tmp_path / "page.md"
    page.write_text("no place")
    with pytest.raises(InputInvalid, match="has no lines"):
        write_figures(page, [])
    with pytest.raises(InputInvalid, match="run: compodiff experiment all"):
        run(project, monkeypatch, "guidance", "--document", page)
    assert page.read_text() == "no place"


def test_seeds_move_trainings_and_noise_and_their_spread_is_told(project):
    setup = ExperimentSetup.of_project(project, None, None, "test", 1)
    first, third = setup.params, setup.reseed(2).params
    for section in ("prior", "composed", "distillation", "sampling"):
        assert getattr(third, section).seed == getattr(first, section).seed + 2
    runs = [[Measurement({"x": 1}, {"recall_at_1": value})] for value in (0.2, 0.4)]
    (point,) = average_runs(runs)
    assert point.metrics == pytest.approx({"recall_at_1": 0.3, "recall_at_1_spread": 0.02**0.5})


def test_the_fit_finds_the_line_that_the_points_lie_on():
    points = [Measurement({"triplets": 2**n}, {"recall_at_10": 0.1 + 0.05 * n}) for n in (4, 6, 7, 10)]
    found = log_fit(points, "recall_at_10")
    assert found["gain_per_doubling"] == pytest.approx(0.05)
    assert found["recall_at_10_at_ten_times_the_data"] == pytest.approx(0.6 + 0.05 * 3.321928)
    assert found["largest_residual"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_each_chart_draws_points_of_its_kind(name):
    chart: Chart = EXPERIMENTS[name].chart
    metrics = {chart.metric: 0.5}
    points = [Measurement({chart.x: x, **dict.fromkeys(chart.by, by)}, metrics) for x in (1, 2) for by in (1, 2)]
    assert plot(points, chart, "title").startswith(b"\x89PNG")
