"""What `compodiff bench data` measures is what the stages and trainings read."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compodiff.cleaning.clean import clean_within
from compodiff.cli.bench import _draw_sheet, _import_manifest
from compodiff.params import load_params
from compodiff.sets import open_set
from compodiff.speed.apart import MEGABYTE, Cost, measure
from compodiff.speed.figures import Figure
from compodiff.speed.loading import open_batches
from compodiff.speed.shards import measure_status
from compodiff.speed.stage_costs import AGAIN, BATCH, WORKS, TimedStages, compare_sizes
from compodiff.speed.synthetic import ASKING, SET, write_encoder, write_manifest, write_set
from compodiff.speed.wide_arrays import write_wide_arrays
from compodiff.stages.mix import mix
from compodiff.stages.validate import validate

ROOT = Path(__file__).parents[3]
STAGES = TimedStages(validate, mix, clean_within, _import_manifest, _draw_sheet, load_params(ROOT / "params.yaml"))
ROWS, FEW = 3000, 300


def test_a_training_starts_on_the_wide_arrays(tmp_path):
    write_wide_arrays(tmp_path, ROWS)
    (batch,) = open_batches(tmp_path, STAGES).make_microbatches(3, rank=0, world_size=1)
    assert batch.target.shape == (BATCH, 512)
    assert len(np.unique(batch.target[:, 0].numpy())) > BATCH / 3  # each triplet has a picture of its own


def test_the_set_has_as_many_rows_as_asked_and_no_triplet_twice(tmp_path):
    write_set(tmp_path / SET, ROWS)
    opened = open_set(tmp_path / SET)
    assert opened.description.rows == {"train": 2700, "validation": 300}
    rows = [(it["reference"]["name"], it["target"]["name"], *it["relative_captions"]) for it in opened.iterate_rows()]
    assert len(set(rows)) == ROWS
    assert all(reference != target for reference, target, _ in rows)


@pytest.mark.usefixtures("one_process")
def test_each_stage_that_is_measured_runs_over_the_sets_that_are_made_for_it(tmp_path):
    write_encoder(tmp_path / "encoder")
    write_set(tmp_path / "sets" / SET, FEW)
    write_set(tmp_path / "sets" / ASKING, FEW, rows_per_text=8)
    write_manifest(tmp_path / "foreign", FEW)
    (tmp_path / "benchmarks").mkdir()
    for prepare in WORKS.values():
        prepare(tmp_path, STAGES)()
    assert sum(open_set(tmp_path / "imported").description.rows.values()) == FEW
    accepted = np.load(tmp_path / "validation" / SET / "train" / "triplet.npy")
    assert len(accepted) == FEW * 9 // 10  # neither floor drops a row, and none is quarantined
    assert (tmp_path / "mixture" / "mixture.json").is_file()
    assert (tmp_path / "sheet.html").is_file()


def test_memory_is_compared_over_two_sizes_and_judging_again_is_of_a_million_rows():
    found = {(name, size): Cost(1 + size / 1000, size / 1000, size / 100) for name in WORKS for size in (2000, 10_000)}
    by_name = {row["figure"]: row for row in (it.to_row() for it in compare_sizes(found, 2000, 10_000))}
    growth = by_name["validate, MB more at 10,000 rows than at 2,000"]
    assert (growth["measured"], growth["limit"], growth["verdict"]) == (80.0, "at most 200", "holds")
    again = by_name[f"{AGAIN}, seconds for 10^6 rows, from 10,000"]
    assert (again["measured"], again["verdict"]) == (pytest.approx(1100), "missed")
    assert by_name[f"{AGAIN}, processor seconds for 10^6 rows, from 10,000"]["measured"] == pytest.approx(1000)


def test_a_figure_is_judged_by_its_limits():
    judged = {
        Figure("rows a second", 1.7, least=1.8): ("at least 1.8", "missed"),
        Figure("rows a second", 1.8, least=1.8): ("at least 1.8", "holds"),
        Figure("seconds", 11, most=10, at="at 10,000,000"): ("at most 10 at 10,000,000", "missed"),
        Figure("seconds", 11): ("none", ""),
    }
    for figure, (limit, verdict) in judged.items():
        row = figure.to_row()
        assert (row["limit"], row["verdict"]) == (limit, verdict)


def test_memory_that_is_held_meanwhile_is_seen_and_mapped_files_are_not(tmp_path):
    def hold() -> Callable[[], object]:
        def work() -> None:
            held = np.ones(64 * MEGABYTE, np.uint8)  # too much for what was freed before
            time.sleep(0.2)
            assert held.all()

        return work

    def read() -> Callable[[], object]:
        np.save(tmp_path / "mapped.npy", np.ones(64 * MEGABYTE, np.uint8))

        def work() -> None:
            mapped = np.load(tmp_path / "mapped.npy", mmap_mode="r")
            assert all(part.all() for part in np.array_split(mapped, 64))
            time.sleep(0.2)

        return work

    assert 60 < measure(hold).megabytes < 100
    assert measure(read).megabytes < 32


@pytest.mark.slow
def test_dvc_looks_at_the_shards_that_are_made_for_it(tmp_path):
    seconds, worked = measure_status(tmp_path, 20)
    assert worked.measured > 0.1
    assert seconds.to_row()["figure"] == "dvc status with 20 shards, seconds"
