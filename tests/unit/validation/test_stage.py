"""The stage validate, end to end: what it writes, and what it says where a set is not fit for training."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from worlds.judged import (
    PAIR_FAULTS,
    TOLERANT,
    TRAIN,
    TRIPLET_FAULTS,
    Made,
    digest_whole,
    params_of,
    picture,
    put,
)

from compodiff.errors import DataRejected, InputInvalid
from compodiff.sets import PAIRS, TRIPLETS
from compodiff.stages.validate import validate
from compodiff.storage.atomic import write_json

pytestmark = pytest.mark.usefixtures("one_process")


def write_benchmark_digests(folder: Path, *contents: bytes) -> None:
    """What assemble_benchmark leaves of a benchmark that scores these pictures."""
    folder.mkdir(parents=True)
    write_json(folder / "benchmark.json", {})
    scored = digest_whole(*contents)
    np.savez(folder / "held_out.npz", scored=scored, chosen=scored[:0])


def run_stage(made: Made, root: Path, **changes: Any) -> Path:
    usual = {"params": params_of(), "validation": TOLERANT, "folder": made.folder, "embeddings": made.embeddings}
    validate(**(usual | {"benchmarks": root / "benchmarks", "validated": root / "validated"} | changes))
    return root / "validated"


@pytest.mark.parametrize("kind", [PAIRS, TRIPLETS])
def test_the_stage_writes_examples_of_accepted_rows_alone(make, tmp_path, kind):
    write_benchmark_digests(tmp_path / "benchmarks" / "emoji", picture(2 * 3))
    made = make(kind, TRIPLET_FAULTS["no relation"][0] if kind == TRIPLETS else PAIR_FAULTS["no text"][0])
    validated = run_stage(made, tmp_path)
    lost = {3, 9} if kind == TRIPLETS else {3}
    rows, quarantine = (pd.read_parquet(validated / f"{name}.parquet") for name in ("rows", "quarantine"))
    assert set(np.flatnonzero(~rows["accepted"])) == lost
    assert set(quarantine["key"]) == {f"row-{number:03d}" for number in lost}
    table = np.load(validated / "train" / ("triplet.npy" if kind == TRIPLETS else "text_to_image.npy"))
    targets = np.load(made.embeddings / "scored.npy")[:, 1]
    assert set(table[:, -1]) == set(targets[[row for row in range(TRAIN) if row not in lost]])
    pages = [path.read_text(encoding="utf-8") for path in (validated / "docs").rglob("*.html")]
    assert len(pages) > 2
    assert not any(re.search(r"<script|<link[^>]*http", page) for page in pages), "a page fetches something"
    first = (validated / "docs" / "index.html").read_text(encoding="utf-8")
    assert f"{len(rows) - len(lost)} of {len(rows)} rows accepted, {len(lost)} quarantined" in first
    assert "expect_column_values_to_not_be_null" in first


def test_the_stage_that_fails_says_where_to_look_and_gives_nothing_to_train_on(make, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    with pytest.raises(DataRejected, match=r"not fit for training: enough_rows found 24 .*quarantine\.parquet"):
        run_stage(made := make(), tmp_path, params=params_of(min_rows=1000))
    validated = tmp_path / "validated"
    assert {path.name for path in validated.glob("[!.]*")} == {
        "docs", "quarantine.parquet", "result.json", "rows.parquet"
    }  # fmt: skip
    assert (run_stage(made, tmp_path) / "train").is_dir()  # other params, and the same arrays


def test_a_set_made_anew_or_a_benchmark_cut_short_is_bad_input_not_bad_data(make, tmp_path):
    made, other = make(), make(TRIPLETS, put(0, keyword="red"))
    with pytest.raises(InputInvalid, match="is not the one that was embedded; run: dvc repro"):
        run_stage(replace(made, folder=other.folder), tmp_path)
    write_benchmark_digests(tmp_path / "benchmarks" / "emoji")
    (tmp_path / "benchmarks" / "emoji" / "held_out.npz").write_bytes(b"PK")
    with pytest.raises(InputInvalid, match=r"held_out\.npz is missing or damaged .*; run: dvc repro"):
        run_stage(made, tmp_path)
