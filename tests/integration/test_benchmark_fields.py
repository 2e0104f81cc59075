"""`compodiff benchmark run` on the field's benchmarks as they lie on users' disks, pictures and all."""

import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from worlds.field import FIELDS, OTHERS, PAIRS
from worlds.field_2026 import FIELDS_2026

from compodiff.benchmarks.datasets.embedding import find_present
from compodiff.benchmarks.datasets.loading import BenchmarkChoices, load_benchmark
from compodiff.cli import main

ONE_OF_EACH = [field for field in FIELDS if field.layout in ("official, img_raw", "official, images", "val2017", "all")]
ONE_OF_EACH += [field for field in FIELDS if field.name == "circo" and field.layout != "CIRCO"]


@pytest.fixture
def run(models, tmp_path, monkeypatch, capsys):
    """Run the command line in an empty project; return exit code, output and errors."""
    shutil.copy(Path(__file__).parents[2] / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(field, *options, track=False):
        arguments = ["benchmark", "run", field.name, "--root", "field", "--model", models, "--json", "out.json"]
        arguments += [*options, "--track" if track else "--no-track"]
        monkeypatch.setattr(sys, "argv", ["compodiff", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


def result(project):
    return json.loads((project / "out.json").read_text())


@pytest.mark.parametrize("field", [*FIELDS, *FIELDS_2026], ids=str)
def test_each_layout_is_read(tmp_path, field):
    names = field.make(tmp_path)
    there = find_present(load_benchmark(field.name, tmp_path, None, BenchmarkChoices()), skip_missing=False)
    assert len(there.pictures) == len(names)
    for part in there.parts:
        for query in part.queries:
            pair = (query.reference, query.targets[0])
            others = [name for name in part.named_pictures if name not in pair]
            reference, target, other = (
                there.pictures[name].read(name).convert("RGB").tobytes() for name in (*pair, others[-1])
            )
            assert reference == target != other


@pytest.mark.parametrize("field", [*ONE_OF_EACH, *FIELDS_2026], ids=str)
def test_one_layout_of_each_is_run_from_its_pictures_to_its_result(run, tmp_path, field):
    names = field.make(tmp_path / "field")
    code, output, _ = run(field)
    assert code == 0, output
    found = result(tmp_path)
    assert found["rows"].keys() == {"image_only", "text_only", "sum", "product", "composed"}
    assert found["record"]["queries"] == len(names) // (2 * PAIRS + OTHERS) * PAIRS
    assert found["record"]["missing_pictures"] == 0
    image_only = found["rows"]["image_only"]["metrics"]
    assert {metric: image_only[metric] for metric in field.expected} == field.expected


@pytest.mark.parametrize("field", ONE_OF_EACH, ids=str)
def test_a_missing_picture_is_named_or_where_asked_counted(run, tmp_path, field):
    names = field.make(tmp_path / "field")
    reference, target = names[0], names[3]
    for name in (reference, target):
        (tmp_path / "field" / field.picture(name)).unlink()
    code, _, errors = run(field)
    assert code == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("compodiff:")]
    assert errors.count("\n") == 1
    assert line.startswith(f"compodiff: 2 of {len(names)} pictures of {field.name} are missing (")
    assert all(name in line for name in (reference, target))
    assert "--skip-missing" in line
    assert not (tmp_path / "out.json").exists()
    code, output, _ = run(field, "--skip-missing")
    assert code == 0, output
    assert "2 pictures missing" in output
    record = result(tmp_path)["record"]
    assert record["missing_pictures"] == 2
    assert (record["queries_without_reference"], record["skipped_queries"]) == (1, 1)
    assert record["queries"] == len(names) // (2 * PAIRS + OTHERS) * PAIRS - 2


def test_a_run_tells_the_wording_the_pairs_of_pictures_and_the_gap(run, tmp_path):
    (field,) = [field for field in FIELDS_2026 if field.name == "pinpoint"]
    names = field.make(tmp_path / "field")
    table = tmp_path / "field" / "pinpoint_licensed.parquet"
    rows = pd.read_parquet(table)
    reworded = rows.assign(query_id=[f"1{each}" for each in rows["query_id"]], instruction="once more, please")
    pair = rows[:1].assign(query_id="90000", query_image_signature2=names[2])
    pd.concat([rows, reworded, pair]).to_parquet(table)
    (tmp_path / "field" / field.picture(names[3])).unlink()  # an answer that the page cannot show
    code, output, _ = run(field, "--skip-missing", "--html", "out.html")
    assert code == 0
    assert "composition gap, recall at 10: " in output
    assert "spread over paraphrases, map at 10: " in output
    found = result(tmp_path)
    assert found["rows"]["composed"]["paraphrases"]["intents"] == PAIRS - 1
    assert found["rows"]["composed"]["groups"]["two pictures"]["queries"] == 1
    gap = found["composition_gap"]["map_at_10"]
    alone = {row: found["rows"][row]["metrics"]["map_at_10"] for row in ("image_only", "text_only")}
    assert gap["against"] == max(alone, key=alone.__getitem__)
    assert gap["gap"] == found["metrics"]["map_at_10"] - max(alone.values())


def test_the_page_of_several_parts_shows_the_pictures_of_each(run, tmp_path):
    (field,) = [field for field in FIELDS_2026 if field.name == "mbeir"]
    field.make(tmp_path / "field")
    root = tmp_path / "field" / "M-BEIR"
    for path in [path for path in root.rglob("mbeir_cirr_*") if path.is_file()]:  # the same again under other ids
        other = path.with_name(path.name.replace("cirr", "fashioniq"))
        other.write_text(re.sub(r"\b7:", "1:", path.read_text()))
    code, _, errors = run(field, "--html", "out.html")
    assert code == 0, errors
    found = result(tmp_path)
    assert found["record"]["parts"] == ["cirr", "fashioniq"]
    assert found["rows"]["composed"].keys() >= {"parts", "over_queries"}
    page = (tmp_path / "out.html").read_text()
    assert "alt='7:" in page
    assert "alt='1:" in page


def test_a_run_goes_to_mlflow_with_all_that_it_depends_on(run, tmp_path):
    import mlflow

    (field,) = [field for field in FIELDS if field.layout == "official, listed"]
    field.make(tmp_path / "field")
    options = [
        "--html",
        "out.html",
        "--steps",
        "1",
        "--w-text",
        "2.5",
        "--seed",
        "3",
        "--template",
        "{relative_caption}",
    ]
    code, _, errors = run(field, *options, track=True)
    assert code == 0, errors
    record = result(tmp_path)["record"]
    assert record["template"] == "{relative_caption}"
    assert record["gallery_variant"] == "COCO 2017 unlabeled, listed"
    assert len(record["weights_digest"]) == 64
    preprocessing = {"name", "activation", "image_size", "mean", "std", "interpolation", "resize_mode"}
    assert preprocessing <= record["encoder"]["picture"].keys()
    chosen = {"seed": 3, "num_inference_steps": 1, "w_text": 2.5, "w_image": 1.5}
    assert chosen.items() <= record["sampling"].items()
    assert record["k"] == {"recall": [1, 5, 10, 25, 50], "map": [5, 10, 25, 50], "candidates": []}
    assert (record["missing_pictures"], record["reference_removed"]) == (0, False)
    assert "src='data:image/" in (tmp_path / "out.html").read_text()
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (tracked,) = client.search_runs(experiments, filter_string="attributes.run_name = 'benchmark_circo'")
    assert tracked.info.status == "FINISHED"
    assert tracked.data.metrics["composed/map_at_5"] == result(tmp_path)["metrics"]["map_at_5"]
    assert "image_only/recall_at_10" in tracked.data.metrics
    assert tracked.data.params["weights_digest"] == record["weights_digest"]
    assert {file.path for file in client.list_artifacts(tracked.info.run_id)} >= {"out.json", "out.html"}
