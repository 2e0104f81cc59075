"""What becomes of the rows of a set: real sets, real pictures, embedded by a tiny CLIP; only faults are put in."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import draw_noise, encode_picture, make_embedding_params, make_floors, make_validation_params

from compodiff.embeddings import SetEmbeddings, embed_set
from compodiff.errors import DataRejected, InputInvalid
from compodiff.images import decode
from compodiff.images.decoding import digest_pixels
from compodiff.params import OwnSetParams, SimilarityFloors, ValidationParams
from compodiff.sets import PAIRS, TRIPLETS, finish_set, open_set, open_shard
from compodiff.stages.validate import validate
from compodiff.storage.atomic import write_json
from compodiff.validation import HeldOut, Judged, Verdict, shorten_digests, validate_rows

pytestmark = pytest.mark.usefixtures("one_process")
TOLERANT = make_validation_params(max_text_length=60)  # a tenth of the rows may be quarantined
TRAIN, HELD = 24, 6  # rows of the training split, in two shards, and of the validation split

Row = dict[str, Any]
Change = Callable[[list[Row]], None]  # of rows of which the pictures are bytes


def picture(number: int) -> bytes:
    return encode_picture(draw_noise(number, 16, 16))


def list_triplets() -> list[Row]:
    """Rows without a fault: no two show the same picture."""
    return [
        {
            "key": f"row-{number:03d}",
            "split": "train" if number < TRAIN else "validation",
            "shard": number // (TRAIN // 2),
            "reference": picture(2 * number),
            "target": picture(2 * number + 1),
            "reference_caption": f"a red disc {number}",
            "target_caption": f"a blue disc {number}",
            "relative_captions": ["make it blue", "blue, please"],
            "relation": "colour",
            "keyword": "blue",
            "mask": None,
            "negatives": [],
        }
        for number in range(TRAIN + HELD)
    ]


def list_pairs() -> list[Row]:
    return [
        {name: row[name] for name in ("key", "split", "shard")}
        | {"picture": row["reference"], "texts": [row["reference_caption"], "a disc"]}
        for row in list_triplets()
    ]


def write_set(folder: Path, kind: str, rows: Sequence[Row]) -> Path:
    for number in sorted({row["shard"] for row in rows}):
        own = [row for row in rows if row["shard"] == number]
        with open_shard(folder, own[0]["split"], number, kind) as shard:
            for place, row in enumerate(own):
                columns = {name: value for name, value in row.items() if name not in ("split", "shard", "called")}
                for name in ("reference", "target", "picture"):
                    if name in columns:
                        called = row.get("called", place)
                        columns[name] = shard.store_picture(f"{name}-{number}-{called}", columns[name])
                shard.add(columns)
    finish_set(folder, kind, licence="", source="this test")
    return folder


@dataclass(frozen=True)
class Made:
    """A set that is written and embedded."""

    folder: Path
    embeddings: Path

    def change_array(self, name: str, change: Callable[[np.ndarray], None]) -> None:
        array = np.load(self.embeddings / f"{name}.npy")
        change(array)
        np.save(self.embeddings / f"{name}.npy", array)


@pytest.fixture
def make(tmp_path: Path, encoder_folder: Path) -> Callable[..., Made]:
    """Return what writes and embeds a set, after a change of its rows and some damage to its files."""

    def make(kind: str = TRIPLETS, change: Change | None = None, damage: Callable[[Path], None] | None = None) -> Made:
        rows = list_triplets() if kind == TRIPLETS else list_pairs()
        if change:
            change(rows)
        number = len(list(tmp_path.glob("set*")))
        (tmp_path / f"set{number}").mkdir()
        folder = write_set(tmp_path / f"set{number}", kind, rows)
        if damage:
            damage(folder)
        made = Made(folder, tmp_path / "embeddings" / str(number))
        made.embeddings.parent.mkdir(exist_ok=True)
        embed_set(made.embeddings, folder, encoder_folder, make_embedding_params(masks_per_picture=0))
        return made

    return make


NOTHING = HeldOut(np.empty(0, np.uint64), np.empty(0, np.uint64))


def params_of(floors: SimilarityFloors | None = None, min_rows: int = 10) -> OwnSetParams:
    return OwnSetParams(recipe="own", reads="set.json", min_rows=min_rows, floors=floors)


def hold(
    made: Made, docs: Path, params: OwnSetParams | None = None, held_out: HeldOut = NOTHING,
    validation: ValidationParams = TOLERANT,
) -> tuple[Verdict, pd.DataFrame, dict[str, str]]:  # fmt: skip
    """Return the verdict, what was said of each row, and key -> failed expectations of those in quarantine."""
    judged = Judged(open_set(made.folder), SetEmbeddings.load(made.embeddings), held_out)
    *groups, verdict = validate_rows(judged, params or params_of(), validation, docs)
    assert isinstance(verdict, Verdict)
    quarantine = pd.concat([group[1] for group in groups])
    return verdict, pd.concat([group[0] for group in groups]), dict(quarantine[["key", "failed"]].to_numpy())


def digest_whole(*contents: bytes) -> np.ndarray:
    return np.frombuffer(b"".join(digest_pixels(decode(it)) for it in contents), np.uint8).reshape(-1, 16)


def digest(*contents: bytes) -> np.ndarray:
    return shorten_digests(digest_whole(*contents))


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


def put(number: int, **values: Any) -> Change:
    return lambda rows: rows[number].update(values)


TRIPLET_FAULTS: dict[str, tuple[Change, str, set[int]]] = {
    "a relative caption without a text": (
        put(3, relative_captions=[""]), "expect_column_values_to_not_be_null(relative_caption)", {3},
    ),
    "a longest relative caption that is too long": (
        put(4, relative_captions=["short", "long " * 20]),
        "expect_column_value_lengths_to_be_between(relative_caption)", {4},
    ),
    "a target's caption that is too long": (
        put(5, target_caption="long " * 20), "expect_column_value_lengths_to_be_between(target_caption)", {5},
    ),
    "a reference that does not decode": (
        put(6, reference=picture(12)[:60]), "expect_column_values_to_not_be_null(reference_pixels)", {6},
    ),
    "a target that is no picture": (
        put(7, target=b"<html>"), "expect_column_values_to_not_be_null(target_pixels)", {7},
    ),
    "a training row that shows a picture of the validation split": (
        put(8, target=picture(2 * TRAIN)), "expect_column_values_to_be_null(held_out_twin)", {8},
    ),
    "no relation": (put(9, relation=None), "expect_column_values_to_not_be_null(relation)", {9}),
}  # fmt: skip
PAIR_FAULTS: dict[str, tuple[Change, str, set[int]]] = {
    "no text": (put(3, texts=["", ""]), "expect_column_values_to_not_be_null(text)", {3}),
    "a text that is too long": (
        put(4, texts=["short", "long " * 20]), "expect_column_value_lengths_to_be_between(text)", {4},
    ),
    "a picture that does not decode": (
        put(5, picture=b"\x89PNG"), "expect_column_values_to_not_be_null(reference_pixels)", {5},
    ),
    "a picture of the validation split": (
        put(6, picture=picture(2 * TRAIN)), "expect_column_values_to_be_null(held_out_twin)", {6},
    ),
}  # fmt: skip


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


def test_the_same_row_twice_is_quarantined(make, tmp_path):
    def repeat(rows: list[Row]) -> None:
        rows[4] |= {name: rows[3][name] for name in ("reference", "target")} | {"called": 3}

    verdict, _, quarantine = hold(make(TRIPLETS, repeat), tmp_path / "docs")
    assert verdict.passed
    twice = "expect_compound_columns_to_be_unique(reference, target, relative_caption)"
    assert quarantine == {"row-003": twice, "row-004": twice}


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
    assert (validated / "docs" / "index.html").is_file()


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
