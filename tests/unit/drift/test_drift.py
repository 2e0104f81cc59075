"""Distances of samples against what they must be, and the look for drift over a real model and benchmark."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from worlds.command import run_command

from compodiff import Searcher
from compodiff.drift.measures import compare_samples
from compodiff.drift.report import look_for_drift
from compodiff.drift.reservoir import KeptQueries, QueryReservoir, read_kept_queries
from compodiff.errors import IndexMismatch, InputInvalid


def draw(generator: np.random.Generator, count: int, shift: float = 0.0) -> np.ndarray:
    sample = generator.normal(size=(count, 6)) * [3, 2, 1, 1, 1, 1]
    sample[:, 0] += shift
    return sample.astype(np.float32)


def test_samples_of_one_population_are_rarely_called_apart_and_shifted_ones_always() -> None:
    generator = np.random.default_rng(3)
    same = [compare_samples(draw(generator, 80), draw(generator, 90), seed) for seed in range(6)]
    assert sum(each.chance <= 0.01 for each in same) <= 1
    assert max(each.distance for each in same) < 0.15
    moved = [compare_samples(draw(generator, 80, 4.0), draw(generator, 90), seed) for seed in range(3)]
    assert all(each.chance < 0.01 and each.distance > 0.3 for each in moved)
    assert all(int(np.argmax(each.components)) == 0 for each in moved), "the axis that was shifted is the widest"


def test_the_discrepancy_is_that_of_its_definition() -> None:
    """Computed pair by pair here, over unit vectors, with the median width."""
    generator = np.random.default_rng(1)
    one, other = draw(generator, 7, 5.0), draw(generator, 9)
    units = [row / np.linalg.norm(row) for row in (*one.astype(float), *other.astype(float))]
    squares = np.array([[np.sum((a - b) ** 2) for b in units] for a in units])
    kernel = np.exp(-squares / np.median([squares[i, j] for i in range(16) for j in range(i)]))
    first = np.mean([kernel[i, j] for i in range(7) for j in range(7) if i != j])
    second = np.mean([kernel[i, j] for i in range(7, 16) for j in range(7, 16) if i != j])
    between = np.mean([kernel[i, j] for i in range(7) for j in range(7, 16)])
    assert compare_samples(one, other, 0).distance == pytest.approx(np.sqrt(first + second - 2 * between))


@pytest.fixture(scope="module")
def searcher(search_project: Path) -> Searcher:
    with pytest.MonkeyPatch.context() as there:
        there.chdir(search_project)
        return Searcher.load("artifacts")


def keep(searcher: Searcher, path: Path, ids: list[str], liked: int = 0, disliked: int = 0) -> KeptQueries:
    reservoir = QueryReservoir(path)
    found = {each: searcher.search(each, "in blue", k=1) for each in {*ids}}
    for place, each in enumerate(ids):
        ranking = found[each]
        judged = (liked, disliked) if place == 0 else (0, 0)
        reservoir.note("version 1", ranking.embedding, ranking.reference, *judged)
    reservoir.save()
    return read_kept_queries(path)


def test_queries_about_one_thing_are_drift_and_the_command_writes_it_down(
    searcher: Searcher, search_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(search_project)
    keep(searcher, tmp_path / "q.npz", ["twemoji-1F355"] * 120, liked=3, disliked=27)
    texts, folder = tmp_path / "texts", tmp_path / "drift"
    monkeypatch.setenv("COMPODIFF_TEXTFILES", str(texts))
    said = run_command("drift", str(tmp_path / "q.npz"), "--model", "artifacts", "--to", str(folder)).output
    assert "answers lie " in said
    assert "references lie " in said
    figures = json.loads((folder / "drift.json").read_text())
    assert (len(figures["found"]), figures["disliked"], figures["seen"]) == (2, 0.9, 120)
    page = (folder / "report.html").read_text()
    assert "<h1>Drift</h1>" in page
    assert "90%" in page
    assert "compodiff_drift_found 1.0" in (texts / "compodiff_drift.prom").read_text()
    said = run_command(
        "drift", str(tmp_path / "q.npz"), "--model", "artifacts", "--to", str(folder), "--tolerated", "2"
    )
    assert said.output.endswith("no drift\n")


def test_what_cannot_be_compared_is_refused(searcher: Searcher, search_project: Path, tmp_path: Path) -> None:
    benchmark = search_project / "artifacts" / "benchmarks" / "emoji"
    kept = keep(searcher, tmp_path / "q.npz", ["twemoji-1F355"] * 2)
    with pytest.raises(InputInvalid, match="2 queries were kept; wait until there are 100"):
        look_for_drift(searcher, benchmark, kept, 0.1, 1)
    other = replace(kept, answers=np.ones((100, 3), np.float32))
    with pytest.raises(IndexMismatch, match="with 3 dimensions, this model has 32; serve it for a while first"):
        look_for_drift(searcher, benchmark, other, 0.1, 1)


def test_the_retraining_that_drift_asks_for_is_a_deployment_that_there_is() -> None:
    from flows.drift import RETRAINING
    from flows.training import train_models

    deployments = yaml.safe_load((Path(__file__).parents[3] / "infra" / "prefect.yaml").read_text())["deployments"]
    trainings = [each["name"] for each in deployments if each["entrypoint"].endswith(".train_models")]
    assert RETRAINING in {f"{train_models.name}/{name}" for name in trainings}


def test_a_report_takes_nobodys_folder(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(InputInvalid, match="which compodiff did not write"):
        run_command("drift", tmp_path / "away.npz", "--to", tmp_path)
    assert (tmp_path / "report.html").read_text() == "mine"
