import re

import numpy as np
import pandas as pd
import pytest
from factories import encode_picture, make_validation_params
from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.params import SimilarityFloors, ValidationParams
from compodiff.storage import shards
from compodiff.validation import MANIFEST, Verdict, add_evidence, has_schema, validate_triplets

FLOORS = SimilarityFloors(
    image_image=0.5, image_caption_reference=0.2, image_caption_target=0.2, directional=0.1, keyword_image=0.1
)
TOLERANT = make_validation_params(max_text_length=60)


def triplets(count: int = 40) -> pd.DataFrame:
    """Rows without a fault, with evidence."""
    numbers = [f"{number:03d}" for number in range(count)]
    rows = pd.DataFrame(
        {
            "key": [f"train-{n}" for n in numbers],
            "shard": "train-00000.tar",
            "reference": [f"red-{n}" for n in numbers],
            "target": [f"blue-{n}" for n in numbers],
            "reference_caption": "red disc",
            "target_caption": "blue disc",
            "relative_caption": "make it blue",
            "relation": "colour",
            "split": ["train"] * (count - 5) + ["validation"] * 5,
            **dict.fromkeys(SimilarityFloors.model_fields, np.float32(0.6)),
            "accepted": True,
            "rejected_by": "",
            "reference_pixels": [f"r{n}" for n in numbers],
            "target_pixels": [f"t{n}" for n in numbers],
            "held_out_twin": pd.Series([None] * count, dtype=object),
        }
    )
    return rows.assign(reference_split=rows["split"], target_split=rows["split"]).astype(MANIFEST)


def judged(rows: pd.DataFrame, docs, params: ValidationParams = TOLERANT) -> Verdict:
    return validate_triplets(rows, FLOORS, params, docs=docs)


def test_good_triplets_pass_and_get_their_docs(tmp_path):
    rows = triplets()
    verdict = judged(rows, tmp_path / "docs")
    assert verdict.passed
    assert verdict.quarantine.empty
    pd.testing.assert_frame_equal(verdict.accepted, rows[[column for column in rows if column in MANIFEST]])
    index = (tmp_path / "docs" / "index.html").read_text()
    assert "triplets" in index
    assert list((tmp_path / "docs" / "validations").rglob("*.html"))


ROW_FAULTS = {
    "image_image": (np.float32(0.49), "expect_similarity_at_least(image_image)"),
    "keyword_image": (np.float32(-1.5), "expect_column_values_to_be_between(keyword_image)"),
    "directional": (np.float32("nan"), "expect_column_values_to_not_be_null(directional)"),
    "relative_caption": ("", "expect_column_value_lengths_to_be_between(relative_caption)"),
    "target_caption": ("long " * 20, "expect_column_value_lengths_to_be_between(target_caption)"),
    "reference_pixels": (None, "expect_column_values_to_not_be_null(reference_pixels)"),
    "held_out_twin": ("green-007", "expect_column_values_to_be_null(held_out_twin)"),
}


def test_a_few_rows_with_faults_are_quarantined_and_the_rest_goes_on(tmp_path):
    rows = triplets()
    for place, (column, (value, _)) in enumerate(ROW_FAULTS.items()):
        rows.loc[place, column] = value
    rows.loc[20, ["reference", "target"]] = rows.loc[21, ["reference", "target"]]
    verdict = judged(rows, tmp_path / "docs")
    assert verdict.passed, verdict.describe_reasons()
    twice = "expect_compound_columns_to_be_unique(reference, target, relative_caption)"
    expected = {rows.at[place, "key"]: name for place, (_, name) in enumerate(ROW_FAULTS.values())}
    expected |= {rows.at[20, "key"]: twice, rows.at[21, "key"]: twice}
    failed = dict(zip(verdict.quarantine["key"], verdict.quarantine["failed"], strict=True))
    assert failed.keys() == expected.keys()
    assert all(name in failed[key] for key, name in expected.items())
    assert set(verdict.accepted["key"]) == set(rows["key"]) - expected.keys()


def test_more_rows_with_faults_than_tolerated_fail_the_suite(tmp_path):
    rows = triplets(40)
    for place, (column, (value, _)) in enumerate(ROW_FAULTS.items()):
        rows.loc[range(5 * place, 5 * place + 5), column] = value
    verdict = judged(rows, tmp_path / "docs")
    assert not verdict.passed
    failed = {it.expectation: it.keys for it in verdict.findings if not it.passed}
    for place, (_, name) in enumerate(ROW_FAULTS.values()):
        assert set(failed[name]) == set(rows["key"][5 * place : 5 * place + 5]), name
    assert re.fullmatch(
        r"(expect_\S+ on 5 rows \((train-\d{3}, ){3}\.\.\.\); ){3}and 5 more", verdict.describe_reasons()
    )
    assert verdict.quarantine["key"].tolist() == rows["key"][: 5 * len(ROW_FAULTS)].tolist()


IMPOSSIBLE = {
    "key": ("train-039", "expect_column_values_to_be_unique(key)"),
    "reference_split": ("test", "expect_column_pair_values_to_be_equal(split, reference_split)"),
    "target_split": (None, "expect_column_pair_values_to_be_equal(split, target_split)"),
    "split": ("test", "expect_column_values_to_be_in_set(split)"),
    "relation": (None, "expect_column_values_to_not_be_null(relation)"),
}


def test_one_row_that_should_be_impossible_fails_the_suite(tmp_path):
    rows = triplets(200)
    for place, (column, (value, _)) in enumerate(IMPOSSIBLE.items()):
        rows.loc[place, column] = value
    verdict = judged(rows, tmp_path / "docs")
    assert {it.expectation for it in verdict.findings if not it.passed} == {name for _, name in IMPOSSIBLE.values()}
    failed = verdict.quarantine.set_index("key")["failed"]
    assert failed.index.tolist() == ["train-039", "train-001", "train-002", "train-003", "train-004", "train-039"]
    assert all(name in failed[f"train-{place:03d}"] for place, (_, name) in enumerate(IMPOSSIBLE.values()) if place)


def test_a_table_of_another_shape_is_rejected_as_a_whole(tmp_path):
    rows = triplets()
    of_another_shape = {
        "expect_table_columns_to_match_set found {'missing': ['shard']}": rows.drop(columns="shard"),
        "expect_table_columns_to_match_set found {'missing': ['key']}": rows.drop(columns="key"),
        "expect_column_values_to_be_of_type(directional) found float64": rows.astype({"directional": "float64"}),
        "expect_table_columns_to_match_set found {'unexpected': ['colour']}": rows.assign(colour="red"),
        "expect_table_columns_to_match_set found {'missing': ['held_out_twin', ": rows[list(MANIFEST)],
    }
    for number, (reason, wrong) in enumerate(of_another_shape.items()):
        verdict = judged(wrong, tmp_path / str(number))
        assert verdict.describe_reasons().startswith(reason)
        assert verdict.accepted.empty
        assert len(verdict.quarantine) == len(rows)
        assert has_schema(wrong) == (set(MANIFEST) <= set(wrong) and wrong["directional"].dtype == np.float32)


def test_too_few_triplets_are_rejected_as_a_whole(tmp_path):
    verdict = judged(triplets(19), tmp_path / "docs")
    assert verdict.describe_reasons() == "expect_table_row_count_to_be_between found 19"
    assert len(verdict.quarantine) == 19


def test_the_verdict_as_json_names_rows(tmp_path):
    rows = triplets()
    rows.loc[3, "image_image"] = np.float32(0.1)
    content = judged(rows, tmp_path / "docs").to_json()
    assert (content["passed"], content["accepted"], content["quarantined"]) == (True, 39, 1)
    (found,) = [it for it in content["expectations"] if it["unexpected"]]
    assert found["expectation"] == "expect_similarity_at_least(image_image)"
    assert found["keys"] == ["train-003"]


PICTURES = pd.DataFrame(
    {"split": ["train", "train", "validation", "validation", "test", "test"]},
    index=["red", "blue", "green", "grey", "white", "black"],
)


def painted(colour: str) -> Image.Image:
    return Image.new("RGB", (16, 16), colour)


def shown(tmp_path, entries: dict[str, tuple[str, bytes, bytes]]) -> pd.DataFrame:
    """Evidence about triplets red -> blue of the split and with the pictures given."""
    splits = [split for split, *_ in entries.values()]
    rows = triplets(len(entries))[list(MANIFEST)]
    rows = rows.assign(key=list(entries), split=splits, reference="red", target="blue").astype(MANIFEST)
    with shards.open_shard_writer(tmp_path / "train-00000.tar") as shard:
        for key, (_, reference, target) in entries.items():
            shard.add(key, {"reference.png": reference, "target.png": target})
    return add_evidence(rows, tmp_path, PICTURES, painted, workers=1)


def test_evidence_finds_what_does_not_decode_and_whose_twin_is_held_out(tmp_path):
    rows = shown(
        tmp_path,
        {
            "good": ("train", encode_picture("red"), encode_picture("blue")),
            "cut": ("train", encode_picture("red")[:50], encode_picture("blue")),
            "text": ("train", encode_picture("red"), b"no picture"),
            "test-seen": ("train", encode_picture("white"), encode_picture("blue")),
            "validation-seen": ("train", encode_picture("red"), encode_picture("grey")),
            "validation-own": ("validation", encode_picture("green"), encode_picture("grey")),
            "validation-test": ("validation", encode_picture("green"), encode_picture("black")),
        },
    ).set_index("key")
    assert rows.index[rows["reference_pixels"].isna()].tolist() == ["cut"]
    assert rows.index[rows["target_pixels"].isna()].tolist() == ["text"]
    twins = rows["held_out_twin"].dropna().to_dict()
    assert twins == {"test-seen": "white", "validation-seen": "grey", "validation-test": "black"}
    assert set(rows["reference_split"]) == set(rows["target_split"]) == {"train"}


def test_evidence_knows_a_row_without_entry_and_a_picture_of_no_split(tmp_path):
    rows = triplets(6)[list(MANIFEST)].iloc[:2].assign(reference=["red", "unknown"])
    with shards.open_shard_writer(tmp_path / "train-00000.tar") as shard:
        shard.add("train-000", {"reference.png": encode_picture("red"), "target.png": encode_picture("blue")})
    rows = add_evidence(rows, tmp_path, PICTURES, painted, workers=1)
    assert rows["reference_pixels"].isna().tolist() == [False, True]
    assert rows["reference_split"].isna().tolist() == [False, True]


def test_evidence_of_no_rows_has_its_columns(tmp_path):
    rows = add_evidence(triplets(6)[list(MANIFEST)].iloc[:0], tmp_path, PICTURES, painted, workers=1)
    assert {"reference_pixels", "target_split", "held_out_twin"} <= set(rows)


def test_a_shard_cut_short_is_bad_input_not_bad_data(tmp_path):
    with shards.open_shard_writer(tmp_path / "train-00000.tar") as shard:
        shard.add("train-000", {"reference.png": encode_picture("red"), "target.png": encode_picture("blue")})
    path = tmp_path / "train-00000.tar"
    path.write_bytes(path.read_bytes()[:512])
    with pytest.raises(InputInvalid, match=r"train-00000\.tar is cut short"):
        add_evidence(triplets(6)[list(MANIFEST)], tmp_path, PICTURES, painted, workers=1)


def test_pictures_that_a_dataset_brings_have_the_split_it_says(tmp_path):
    own = pd.DataFrame({"picture_id": ["drawn", "red"], "split": ["train", "test"]})
    shards.write_table(tmp_path / "pictures.parquet", own)
    rows = (
        triplets(6)[list(MANIFEST)]
        .head(2)
        .assign(key=["a", "b"], split="train", reference="red", target=["drawn", "lost"])
    )
    with shards.open_shard_writer(tmp_path / "train-00000.tar") as shard:
        for key in ("a", "b"):
            shard.add(key, {"reference.png": encode_picture("red"), "target.png": encode_picture("blue")})
    rows = add_evidence(rows.astype(MANIFEST), tmp_path, PICTURES, painted, workers=1)
    assert rows["reference_split"].tolist() == ["train", "train"]  # the catalogue's, whatever the dataset says
    assert rows["target_split"].fillna("?").tolist() == ["train", "?"]


def test_each_shard_is_judged_by_itself(tmp_path):
    rows = triplets(80)
    rows.loc[40:, "shard"] = "train-00001.tar"
    rows.loc[[41, 42, 43, 44, 45], "image_image"] = np.float32(0.1)  # 5 of 40: beyond a tenth; of 80 they are not
    rows.loc[0, "relative_caption"] = ""
    verdict = judged(rows, tmp_path / "docs")
    assert verdict.passed
    first, second = verdict.to_json()["shards"].values()
    length = "expect_column_value_lengths_to_be_between(relative_caption)"
    assert first == {"triplets": 40, "quarantined": 1, "passed": True, "unexpected": {length: 1}}
    similar = {"expect_similarity_at_least(image_image)": 5}
    assert second == {"triplets": 40, "quarantined": 5, "passed": False, "unexpected": similar}
