"""What becomes of the rows of a set: real sets, real pictures, embedded by a tiny CLIP; only faults are put in."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import make_floors, make_validation_params
from worlds.judged import (
    HELD,
    PAIR_FAULTS,
    TRAIN,
    TRIPLET_FAULTS,
    Row,
    digest,
    hold,
    list_triplets,
    params_of,
    picture,
    put,
)

from compodiff.sets import PAIRS, TRIPLETS
from compodiff.validation import HeldOut

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.mark.parametrize("kind", [PAIRS, TRIPLETS])
def test_good_rows_pass_and_get_their_docs(make, tmp_path, kind):
    verdict, said, quarantine = hold(make(kind), tmp_path / "docs", params_of(min_rows=TRAIN))
    assert verdict.passed, verdict.describe_reasons()
    assert quarantine == {}
    assert verdict.accepted.all()
    assert said["accepted"].all()
    assert said["key"].tolist() == [row["key"] for row in list_triplets()]
    assert (said["relation"] == ("" if kind == PAIRS else "colour")).all()
    assert kind in (tmp_path / "docs" / "index.html").read_text()
    assert list((tmp_path / "docs" / "validations").rglob("*.html"))


@pytest.mark.parametrize(("kind", "faults"), [(PAIRS, PAIR_FAULTS), (TRIPLETS, TRIPLET_FAULTS)])
def test_rows_with_a_fault_are_quarantined_with_its_name_and_the_rest_goes_on(make, tmp_path, kind, faults):
    for name, (change, expectation, at) in faults.items():
        verdict, said, quarantine = hold(make(kind, change), tmp_path / name)
        assert verdict.passed, name
        assert quarantine.keys() == {f"row-{number:03d}" for number in at}, name
        assert all(expectation in failed for failed in quarantine.values()), (name, quarantine)
        assert set(np.flatnonzero(~verdict.accepted)) == at, name
        assert set(said.loc[~said["accepted"], "rejected_by"]) == set(quarantine.values()), name


def cut_first_tar(folder: Path) -> None:
    tar = folder / "train-00000.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])


def test_pictures_that_are_missing_are_quarantined_and_too_many_fail_the_suite(make, tmp_path):
    made = make(PAIRS, damage=cut_first_tar)
    verdict, _, quarantine = hold(made, tmp_path / "docs")
    assert TRAIN / 10 < len(quarantine) < TRAIN / 2
    assert not verdict.passed
    assert re.fullmatch(
        rf"expect_column_values_to_not_be_null\(reference_pixels\) on {len(quarantine)} rows "
        r"\((row-\d{3}, ){3}\.\.\.\); expect_\S+ on .*",
        verdict.describe_reasons(),
    )
    lenient = make_validation_params(max_rejected_fraction=0.9)
    assert hold(made, tmp_path / "lenient", validation=lenient)[0].passed


@pytest.mark.parametrize("kind", [PAIRS, TRIPLETS])
def test_an_embedding_that_is_no_number_is_quarantined(make, tmp_path, kind):
    made = make(kind)
    row = np.load(made.embeddings / "scored.npy")[3]

    def spoil(images: np.ndarray) -> None:
        images[row[1]] = np.nan

    made.change_array("images", spoil)
    verdict, _, quarantine = hold(made, tmp_path / "docs")
    assert verdict.passed
    assert quarantine.keys() == {"row-003"}
    assert "expect_column_values_to_not_be_null(image_image)" in quarantine["row-003"]


def test_rows_below_a_floor_are_dropped_before_the_suite_and_counted(make, tmp_path):
    made = make()
    _, said, _ = hold(made, tmp_path / "all")
    floor = float(said["directional"].sort_values().iloc[TRAIN // 2])
    verdict, judged, quarantine = hold(made, tmp_path / "docs", params_of(make_floors(directional=floor)))
    below = said["directional"] < np.float32(floor)
    assert below.sum() == TRAIN // 2  # far more than the suite tolerates
    assert verdict.passed, verdict.describe_reasons()
    assert verdict.dropped == {"directional": TRAIN // 2}
    assert quarantine == {}
    assert (judged["rejected_by"] == np.where(below, "directional", "")).all()
    assert (verdict.accepted == ~below).all()


def test_filters_of_captions_that_a_row_lacks_are_skipped(make, tmp_path):
    def forget(rows: list[Row]) -> None:
        for row in rows[:12]:
            row |= {"reference_caption": None, "target_caption": "", "keyword": None}

    floors = make_floors(image_caption_reference=1.0, image_caption_target=1.0, directional=1.0)  # nothing reaches them
    verdict, said, _ = hold(make(TRIPLETS, forget), tmp_path / "docs", params_of(floors))
    assert verdict.passed, verdict.describe_reasons()
    assert said["accepted"].tolist() == [True] * 12 + [False] * (TRAIN + HELD - 12)
    assert said.loc[:11, ["image_caption_reference", "image_caption_target", "directional"]].isna().all(axis=None)
    assert said["keyword_image"].notna().all()  # the relative caption is held against the target


def test_what_benchmarks_score_is_in_no_split_and_what_they_choose_on_is_not_in_training(make, tmp_path):
    made = make()
    scored, chosen = digest(picture(2 * 3), picture(2 * TRAIN + 1)), digest(picture(2 * 5), picture(2 * (TRAIN + 2)))
    _, _, quarantine = hold(made, tmp_path / "docs", held_out=HeldOut(scored, chosen))
    assert quarantine.keys() == {"row-003", "row-005", f"row-{TRAIN:03d}"}
    assert set(quarantine.values()) == {"expect_column_values_to_be_null(held_out_twin)"}


def test_a_key_that_stands_in_two_shards_fails_the_suite(make, tmp_path):
    made = make(TRIPLETS, put(TRAIN - 1, key="row-000"))
    verdict, _, quarantine = hold(made, tmp_path / "docs")
    assert not verdict.passed
    assert verdict.describe_reasons().startswith("expect_column_values_to_be_in_set(is_key_repeated) on 2 rows")
    assert quarantine.keys() == {"row-000"}
    assert set(np.flatnonzero(~verdict.accepted)) == {0, TRAIN - 1}


@pytest.mark.parametrize("again", [4, TRAIN - 1, TRAIN], ids=["in its shard", "in another shard", "in another split"])
def test_the_same_row_twice_is_quarantined_wherever_it_stands(make, tmp_path, again):
    def repeat(rows: list[Row]) -> None:
        rows[again] |= {name: rows[3][name] for name in ("reference", "target")} | {"called": "0-3"}

    of_a_shard = make_validation_params(max_text_length=60, rows_at_once=1)
    verdict, _, quarantine = hold(make(TRIPLETS, repeat), tmp_path / "docs", validation=of_a_shard)
    assert verdict.passed
    twice = "expect_column_values_to_be_in_set(is_row_repeated)"
    assert quarantine.keys() == {"row-003", f"row-{again:03d}"}
    assert all(twice in failed for failed in quarantine.values())
    assert not list(tmp_path.glob(".scratch.*"))  # where all rows waited


def spoil_everything(rows: list[Row]) -> None:
    """Faults in both shards of the training split and in the validation split."""
    for number, (change, *_) in enumerate(TRIPLET_FAULTS.values()):
        change(rows if number % 2 else rows[TRAIN // 2 :])
    rows[TRAIN + 1]["relative_captions"] = ["long " * 20]
    rows[TRAIN - 1]["key"] = rows[0]["key"]


@pytest.mark.parametrize("change", [None, spoil_everything])
def test_rows_seen_in_several_groups_get_the_verdict_of_one(make, tmp_path, change):
    made = make(TRIPLETS, change)
    floors = params_of(make_floors(keyword_image=-0.1), min_rows=1)
    at_once, said, quarantine = hold(made, tmp_path / "one", floors)
    few = make_validation_params(max_text_length=60, rows_at_once=1)  # a shard at a time
    in_groups, said_in_groups, quarantine_in_groups = hold(made, tmp_path / "many", floors, validation=few)
    assert len(list((tmp_path / "many" / "validations").rglob("*.html"))) == 3
    assert in_groups.to_json() == at_once.to_json()
    assert in_groups.findings == at_once.findings
    assert quarantine_in_groups == quarantine
    pd.testing.assert_frame_equal(said_in_groups.reset_index(drop=True), said)
    assert at_once.passed == (change is None)


def test_too_few_rows_of_the_training_split_are_rejected(make, tmp_path):
    verdict, _, _ = hold(make(), tmp_path / "docs", params_of(min_rows=TRAIN + 1))
    assert not verdict.passed
    expected = f"enough_rows found {TRAIN} rows of the training split, at least {TRAIN + 1} are wanted"
    assert verdict.describe_reasons() == expected


def test_each_shard_is_judged_by_itself_and_rows_are_named(make, tmp_path):
    verdict, _, _ = hold(make(TRIPLETS, TRIPLET_FAULTS["no relation"][0]), tmp_path / "docs")
    content = verdict.to_json()
    assert (content["passed"], content["rows"], content["accepted"]) == (True, TRAIN + HELD, TRAIN + HELD - 1)
    assert (content["quarantined"], content["dropped_by_floor"]) == (1, {})
    (found,) = [it for it in content["expectations"] if it["unexpected"]]
    missing = "expect_column_values_to_not_be_null(relation)"
    assert (found["expectation"], found["keys"]) == (missing, ["row-009"])
    first, second, _ = content["shards"].values()
    assert first == {"rows": 12, "quarantined": 1, "passed": True, "unexpected": {missing: 1}}
    assert second == {"rows": 12, "quarantined": 0, "passed": True, "unexpected": {}}


def test_a_shard_with_many_faults_is_found_among_others(make, tmp_path):
    def shorten(rows: list[Row]) -> None:
        for row in rows[12:15]:  # 3 of 12 are beyond a tenth, of 30 they are not
            row["relative_captions"] = ["long " * 20]

    verdict, _, _ = hold(make(TRIPLETS, shorten), tmp_path / "docs")
    assert verdict.passed
    assert [shard["passed"] for shard in verdict.shards.values()] == [True, False, True]
