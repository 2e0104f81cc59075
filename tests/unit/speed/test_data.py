"""What `compodiff bench data` measures is what the stages and trainings read."""

import time
from pathlib import Path

import numpy as np
import pytest

from compodiff.cleaning.clean import clean_within
from compodiff.params import load_params
from compodiff.sets import open_set
from compodiff.speed import data
from compodiff.speed.synthetic import SET, write_set, write_wide_arrays
from compodiff.stages.mix import mix
from compodiff.stages.validate import validate

ROOT = Path(__file__).parents[3]
STAGES = data.TimedStages(validate, mix, clean_within, load_params(ROOT / "params.yaml"))


def test_a_training_starts_on_the_wide_arrays(tmp_path):
    write_wide_arrays(tmp_path, 3000)
    (batch,) = data._open_training(tmp_path, STAGES).make_microbatches(3, rank=0, world_size=1)
    assert batch.target.shape == (data.BATCH, 512)
    assert len(np.unique(batch.target[:, 0].numpy())) > data.BATCH / 3  # each triplet has a picture of its own
    figures = data._measure(tmp_path, data._start_training, STAGES)
    assert figures["seconds"] > 0


def test_the_set_has_as_many_rows_as_asked_and_no_triplet_twice(tmp_path):
    write_set(tmp_path / SET, 3000)
    opened = open_set(tmp_path / SET)
    assert opened.description.rows == {"train": 2700, "validation": 300}
    rows = [(it["reference"]["name"], it["target"]["name"], *it["relative_captions"]) for it in opened.iterate_rows()]
    assert len(set(rows)) == 3000
    assert all(reference != target for reference, target, _ in rows)


def test_figures_stand_beside_their_limits():
    found = {
        (name, size): {"seconds": 1 + size / 1000, "megabytes": size / 100}
        for name in ("clean", "embed", "validate", "mix", "re-judge")
        for size in (2000, 10_000)
    }
    by_name = {row["figure"]: (row["measured"], row["limit"]) for row in data._list_stages(found, (2000, 10_000))}
    assert by_name["validate, MB more than at 2,000 rows"] == (80.0, "at most 200")
    measured, limit = by_name["re-judge 10^6 rows at another floor, seconds"]
    assert (measured, limit) == (pytest.approx(1100), "below 60")


def test_memory_that_is_held_meanwhile_is_seen(tmp_path):
    def hold(home: Path, stages: data.TimedStages):
        def work() -> None:
            held = np.ones(64 * data.MEGABYTE, np.uint8)  # too much for what was freed before
            time.sleep(0.2)
            assert held.all()

        return work

    assert 60 < data._measure(tmp_path, hold, STAGES)["megabytes"] < 100
