"""What is named where an import finds no column, no file, or only part of one."""

import json

import pytest
from worlds.foreign import (
    BLUE,
    GREEN,
    RED,
    bring,
    rows_of,
    see,
    write_lines,
    write_pictures,
    write_tar,
)

from compodiff.errors import InputInvalid

EDIT = {"input_image": "a.jpg", "output_image": "b.jpg", "edit": "bluer"}


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pictures", {"a.jpg": RED, "b.jpg": BLUE})


def entry(key: str, texts: object, **pictures: bytes) -> dict[str, bytes]:
    own = {"input_image": RED, "output_image": BLUE} | pictures
    text = texts if isinstance(texts, bytes) else json.dumps(texts).encode()
    return {**{f"{key}.{name}.jpg": it for name, it in own.items()}, f"{key}.json": text}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"picture_of": ("x",)}, "'picture_of' is no role of a column; choose from: key, split"),
        ({"target_image": ("x",)}, r"row 1 has no column 'x'; it has: input_image, output_image, edit"),
    ],
)
def test_a_column_that_is_not_there_is_named(tmp_path, pictures, columns, message):
    path = write_lines(tmp_path / "edits.jsonl", [EDIT])
    with pytest.raises(InputInvalid, match=message):
        bring(path, "manifest", tmp_path / "set", pictures=pictures, columns=columns)


def test_columns_that_nobody_knows_are_listed(tmp_path, pictures):
    path = write_lines(tmp_path / "edits.jsonl", [{"before": "a.jpg", "after": "b.jpg", "how": "bluer"}])
    with pytest.raises(InputInvalid, match=r"no column for picture, texts; it has: before, after, how; say which"):
        bring(path, "manifest", tmp_path / "set", pictures=pictures)
    columns = {"reference_image": ("before",), "target_image": ("after",), "relative_caption": ("how",)}
    found, _ = bring(path, "manifest", tmp_path / "set", pictures=pictures, columns=columns)
    assert (found.description.kind, rows_of(found)[0]["relative_captions"]) == ("triplets", ["bluer"])


@pytest.mark.parametrize("form", ["webdataset", "parquet", "manifest", "img2dataset", "lasco"])
def test_a_folder_without_files_of_the_format_is_named(tmp_path, pictures, form):
    with pytest.raises(InputInvalid, match=rf"pictures holds nothing in the format {form}; give the folder"):
        bring(pictures, form, tmp_path / "set")


def test_a_tar_of_pictures_that_was_cut_is_named_or_used_as_far_as_it_goes(tmp_path):
    path = write_tar(tmp_path / "pictures" / "0.tar", {"a.jpg": RED, "b.jpg": BLUE, "c\udce9.jpg": GREEN})
    path.write_bytes(path.read_bytes()[:3500])
    rows = write_lines(tmp_path / "edits.jsonl", [EDIT])
    with pytest.raises(InputInvalid, match=r"0\.tar is cut short, .*; leave such out: --skip-faulty"):
        bring(rows, "manifest", tmp_path / "set", pictures=tmp_path / "pictures")
    found, _ = bring(rows, "manifest", tmp_path / "set", pictures=tmp_path / "pictures", skip_faulty=True)
    assert found.description.notes == {"damaged_file": 1}
    assert see(found, rows_of(found)[0]["target"]) == BLUE


def test_a_name_that_is_no_utf8_is_a_fault_and_in_a_tar_does_no_harm(tmp_path, pictures):
    path = write_lines(tmp_path / "edits.jsonl", [EDIT | {"input_image": "\ud800.jpg"}])
    with pytest.raises(InputInvalid, match=r"row 1: names the picture .*, which is not UTF-8; rename it"):
        bring(path, "manifest", tmp_path / "set", pictures=pictures)
    write_tar(tmp_path / "tars" / "0.tar", entry("caf\udce9", {"edit": "x"}))
    found, _ = bring(tmp_path / "tars", "webdataset", tmp_path / "to")
    assert see(found, rows_of(found)[0]["target"]) == BLUE


def test_a_file_of_captions_that_is_none_is_named(tmp_path, pictures):
    with pytest.raises(InputInvalid, match=r"gone\.json is not there, or is no file; give a file of captions"):
        bring(pictures, "captions", tmp_path / "set", captions=[tmp_path / "gone.json"])
