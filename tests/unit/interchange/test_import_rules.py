"""What holds for every format: splits stay apart, faults are named and counted, an import that stopped continues."""

import json
import os
import re
import shutil

import pytest
from worlds.foreign import (
    BLUE,
    GREEN,
    RED,
    bring,
    rows_of,
    write_csv,
    write_lines,
    write_parquet,
    write_pictures,
    write_tar,
)

from compodiff.errors import InputInvalid
from compodiff.interchange import importing, manifests
from compodiff.sets import open_set

EDIT = {"input_image": "a.jpg", "output_image": "b.jpg", "edit": "bluer"}


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pictures", {"a.jpg": RED, "b.jpg": BLUE})


def entry(key: str, texts: object, **pictures: bytes) -> dict[str, bytes]:
    own = {"input_image": RED, "output_image": BLUE} | pictures
    text = texts if isinstance(texts, bytes) else json.dumps(texts).encode()
    return {**{f"{key}.{name}.jpg": it for name, it in own.items()}, f"{key}.json": text}


def test_splits_stay_apart_by_column_and_by_file(tmp_path, pictures):
    said = ["train", "val", "dev", "Validation", "test", "test2017", "", None]
    write_lines(tmp_path / "lists" / "all.jsonl", [EDIT | {"id": n, "split": split} for n, split in enumerate(said)])
    for name in ("my.val.jsonl", "cap.rc2.test1.jsonl", "latest.jsonl"):
        write_lines(tmp_path / "lists" / name, [EDIT | {"id": name}, EDIT | {"id": f"{name}-2", "split": "train"}])
    found, tally = bring(tmp_path / "lists", "manifest", tmp_path / "set", pictures=pictures)
    splits = {row["key"]: row["split"] for row in rows_of(found)}
    assert {key for key, split in splits.items() if split == "train"} == {
        "0",
        "6",
        "7",
        "latest.jsonl",
        "latest.jsonl-2",
    }
    assert {key for key, split in splits.items() if split == "validation"} == {*"123", "my.val.jsonl", "my.val.jsonl-2"}
    assert tally.notes == {"test": 4}
    other, _ = bring(
        tmp_path / "lists" / "all.jsonl", "manifest", tmp_path / "v", pictures=pictures, split="validation"
    )
    assert {row["split"] for row in rows_of(other)} == {"validation"}


def test_a_set_of_nothing_but_test_rows_is_refused(tmp_path, pictures):
    path = write_lines(tmp_path / "test.jsonl", [EDIT, EDIT])
    with pytest.raises(InputInvalid, match=r"test\.jsonl, manifest gives no row to learn from \(2 test\)"):
        bring(path, "manifest", tmp_path / "set", pictures=pictures)
    assert not (tmp_path / "set" / "set.json").exists()


FAULTS = {
    "empty_text": (r"b: has an empty relative_caption", entry("b", {"edit": " \u200b\n"})),
    "bad_text": (r"b: has \{'raw': 'a dog'\} for a text; name the column", entry("b", {"edit": {"raw": "a dog"}})),
    "missing_picture": (r"b: has 'gone\.jpg' for a picture", entry("b", {"output_image": "gone.jpg", "edit": "x"})),
    "missing_role": (r"b: has neither a relative caption nor both captions", entry("b", {})),
    "not_json": (r"b\.json is not JSON", entry("b", b"{")),
    "same_captions": (
        r"b: has no relative caption, and both captions say 'the dog'",
        entry("b", {"input": "a dog", "output": "the dog"}),
    ),
    "bad_split": (r"b: has the split '\[\]', which is none of train, validation, test", entry("b", {"split": []})),
    "bad_mask": (r"b: has a mask that cannot be used: ", entry("b", {"edit": "x"}, mask=b"<html>")),
    "repeated_key": (
        r"b: has the key 'a', as another row has; name another column",
        entry("b", {"key": "a", "edit": "x"}),
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_one_line_or_is_left_out_named_and_counted(tmp_path, caplog, kind):
    message, faulty = FAULTS[kind]
    if kind == "missing_picture":
        del faulty["b.output_image.jpg"]
    sound = {"input": "a dog", "output": "a cat"} if kind == "same_captions" else {"edit": "x"}
    if kind == "missing_role":
        sound = {"input": "a dog", "output": "a cat"}
    path = write_tar(tmp_path / "set" / "0.tar", {**entry("a", sound), **faulty, **entry("c", sound)})
    with pytest.raises(
        InputInvalid, match=rf"{re.escape(str(path))}: {message}.*; leave such out: --skip-faulty"
    ) as fault:
        bring(tmp_path / "set", "webdataset", tmp_path / "to")
    assert "\n" not in str(fault.value)
    found, tally = bring(tmp_path / "set", "webdataset", tmp_path / "to", skip_faulty=True)
    assert [row["key"] for row in rows_of(found)] == ["a", "c"]
    assert found.description.notes == tally.notes == {kind: 1}
    assert re.search(message, caplog.text)


def test_faults_beyond_the_first_few_are_counted(tmp_path, pictures, caplog):
    rows = [EDIT, *({**EDIT, "edit": ""} for _ in range(9)), *({**EDIT, "input_image": "gone.jpg"} for _ in range(2))]
    path = write_lines(tmp_path / "edits.jsonl", rows)
    found, _ = bring(path, "manifest", tmp_path / "set", pictures=pictures, skip_faulty=True)
    assert found.description.notes == {"empty_text": 9, "missing_picture": 2}
    assert "row 2: has an empty relative_caption; left out" in caplog.text
    assert "8 more were left out: 9 empty_text, 2 missing_picture" in caplog.text


@pytest.mark.parametrize("name", ["edits.jsonl", "edits.jsonl.gz", "edits.json", "edits.csv", "0.tar", "a.parquet"])
def test_a_file_that_was_cut_keeps_its_rows_up_to_there(tmp_path, pictures, name):
    """Another file is whole; without --skip-faulty the cut one is named."""
    folder = tmp_path / "set"
    rows = [EDIT | {"id": str(number), "noise": os.urandom(40).hex()} for number in range(200)]
    form = {"0.tar": "webdataset", "a.parquet": "parquet"}.get(name, "manifest")
    if form == "webdataset":
        files = {k: v for n in range(9) for k, v in entry(f"{n}", {"edit": "x"}).items()}
        whole = [write_tar(folder / each, files) for each in ("0.tar",)]
        write_tar(folder / "1.tar", entry("z", {"edit": "x"}))
    elif form == "parquet":
        columns = {"input_image": [RED] * 9, "output_image": [BLUE] * 9, "edit": ["x"] * 9}
        whole = [write_parquet(folder / name, columns)]
        write_parquet(folder / "b.parquet", columns)
    else:
        path = folder / name
        whole = [path]
        if name.endswith("csv"):
            write_csv(path, rows)
        elif name.endswith(".json"):
            folder.mkdir()
            path.write_text(json.dumps(rows))
        else:
            write_lines(path, rows)
        write_lines(folder / "whole.jsonl", [EDIT | {"id": "whole"}])
    content = whole[0].read_bytes()
    whole[0].write_bytes(content[: len(content) * 3 // 4])
    options = {} if form != "manifest" else {"pictures": pictures}
    with pytest.raises(InputInvalid, match=rf"{re.escape(name)}.*; leave such out: --skip-faulty"):
        bring(folder, form, tmp_path / "to", **options)
    found, tally = bring(folder, form, tmp_path / "to", skip_faulty=True, **options)
    assert sum(tally.faults.values()) == 1
    assert found.description.rows["train"] == tally.rows
    assert tally.rows == 9 if form == "parquet" else tally.rows > 5


def test_lines_that_are_no_rows_are_each_a_fault(tmp_path, pictures):
    lines = ["\ufeff" + json.dumps(EDIT), "{", "", "[1]", "\x00", json.dumps(EDIT | {"edit": "\ud800 x\u2028y"})]
    path = write_lines(tmp_path / "edits.jsonl", lines)
    found, _ = bring(path, "manifest", tmp_path / "set", pictures=pictures, skip_faulty=True)
    assert found.description.notes == {"not_json": 3}
    assert [row["relative_captions"] for row in rows_of(found)] == [["bluer"], ["? x\u2028y"]]


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg"])
def test_no_picture_is_taken_from_outside_of_the_root(tmp_path, pictures, name):
    (tmp_path / "secret.jpg").write_bytes(RED)
    path = write_lines(tmp_path / "edits.jsonl", [EDIT | {"input_image": name}])
    with pytest.raises(InputInvalid, match=r"row 1: names the picture .*, which is not below .*pictures"):
        bring(path, "manifest", tmp_path / "set", pictures=pictures)


def test_a_key_in_two_files_is_named_or_its_later_rows_left_out(tmp_path, pictures):
    for number, name in enumerate(("one.jsonl", "two.jsonl")):
        write_lines(tmp_path / "lists" / name, [EDIT | {"id": each} for each in ("same", str(number))])
    options = {"pictures": pictures}
    with pytest.raises(InputInvalid, match=r"the key 'same' stands in 2 rows; .*--column key=NAME, .*--skip-faulty"):
        bring(tmp_path / "lists", "manifest", tmp_path / "set", **options)
    for _ in range(2):  # a second run finds nothing to do, and says the same
        found, tally = bring(tmp_path / "lists", "manifest", tmp_path / "set", skip_faulty=True, **options)
        assert [row["key"] for row in rows_of(found)] == ["same", "0", "1"]
        assert found.description.notes == tally.notes == {"repeated_key": 1}
    numbered, _ = bring(tmp_path / "lists", "manifest", tmp_path / "numbered", columns={"key": ("",)}, **options)
    assert [row["key"] for row in rows_of(numbered)] == [
        f"{name}.jsonl-{number:08d}" for name in ("one", "two") for number in (1, 2)
    ]


def test_an_import_continues_with_the_units_that_are_missing(tmp_path):
    for number in range(3):
        write_tar(tmp_path / "tars" / f"{number}.tar", entry(f"k{number}", {"edit": "x"}))
    whole = (tmp_path / "tars" / "2.tar").read_bytes()
    (tmp_path / "tars" / "2.tar").write_bytes(whole[:-10240] + b"x" * 10240)  # of the same size
    with pytest.raises(InputInvalid, match=r"2\.tar"):
        bring(tmp_path / "tars", "webdataset", tmp_path / "set")
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").glob("train-*")}
    assert len(done) == 2
    (tmp_path / "tars" / "2.tar").write_bytes(whole)
    found, _ = bring(tmp_path / "tars", "webdataset", tmp_path / "set")
    assert {path: path.stat().st_mtime_ns for path in done} == done
    afresh, _ = bring(tmp_path / "tars", "webdataset", tmp_path / "afresh")
    assert found.description == afresh.description


def test_other_options_are_refused_once_a_unit_is_done_and_taken_before(tmp_path):
    folder = tmp_path / "tars"
    write_tar(folder / "0.tar", entry("a", {}))
    with pytest.raises(InputInvalid, match="neither a relative caption"):
        bring(folder, "webdataset", tmp_path / "set")
    write_tar(folder / "0.tar", entry("a", {"edit": "x"}))
    bring(folder, "webdataset", tmp_path / "set", split="validation")  # nothing was done
    before = (tmp_path / "set" / "set.json").read_bytes()
    with pytest.raises(InputInvalid, match="set was begun with --split validation, not train; go on as before"):
        bring(folder, "webdataset", tmp_path / "set")
    write_tar(folder / "1.tar", entry("b", {"edit": "x"}))
    with pytest.raises(InputInvalid, match=r"set was begun with another state of the files of .*tars; go on as before"):
        bring(folder, "webdataset", tmp_path / "set", split="validation")
    assert (tmp_path / "set" / "set.json").read_bytes() == before


def test_what_was_left_out_is_not_forgotten_by_a_stricter_run(tmp_path, pictures):
    path = write_lines(tmp_path / "edits.jsonl", [EDIT, "{"])
    bring(path, "manifest", tmp_path / "set", pictures=pictures, skip_faulty=True)
    with pytest.raises(InputInvalid, match="set was begun with --skip-faulty, and rows were left out; give it again"):
        bring(path, "manifest", tmp_path / "set", pictures=pictures)


def test_no_set_of_another_making_is_written_over(tmp_path, pictures):
    from compodiff.sets import KIND
    from compodiff.storage.atomic import replace_folder

    with replace_folder(tmp_path / "set", KIND) as made:
        (made / "set.json").write_text("{}")
    path = write_lines(tmp_path / "edits.jsonl", [EDIT])
    with pytest.raises(InputInvalid, match="is compodiff's set, not its imported set"):
        bring(path, "manifest", tmp_path / "set", pictures=pictures)
    with pytest.raises(InputInvalid, match=r"holds what is read"):
        bring(path, "manifest", tmp_path, pictures=pictures)


def test_long_units_become_several_shards(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(importing, "ROWS_PER_SHARD", 3)
    monkeypatch.setattr(manifests, "ROWS_PER_UNIT", 7)
    rows = [EDIT | {"id": f"{number:02d}", "split": "val" if number % 5 == 0 else "train"} for number in range(16)]
    found, _ = bring(write_lines(tmp_path / "e.jsonl", rows), "manifest", tmp_path / "set", pictures=pictures)
    names = [shard.file for shard in found.description.shards]
    assert names[:3] == ["train-00000-000.parquet", "train-00000-001.parquet", "train-00001-000.parquet"]
    assert max(shard.rows for shard in found.description.shards) == 3
    assert sorted(row["key"] for row in rows_of(found)) == [f"{number:02d}" for number in range(16)]


def test_two_processes_write_the_same_set_as_one(tmp_path, monkeypatch):
    for number in range(4):
        own = {"edit": "x"} if number % 2 else {"input": "a dog", "output": "a cat"}
        write_tar(tmp_path / "tars" / f"{number}.tar", entry(f"k{number}", own, output_image=GREEN))
    found, _ = bring(tmp_path / "tars", "webdataset", tmp_path / "set")
    monkeypatch.setenv("COMPODIFF_WORKERS", "2")
    both, _ = bring(tmp_path / "tars", "webdataset", tmp_path / "both")
    assert both.description == found.description


def test_a_set_that_was_moved_still_finds_its_pictures(tmp_path):
    write_tar(tmp_path / "tars" / "0.tar", entry("a", {"edit": "x"}))
    bring(tmp_path / "tars", "webdataset", tmp_path / "set")
    shutil.move(tmp_path / "set", tmp_path / "elsewhere")
    moved = open_set(tmp_path / "elsewhere")
    (row,) = rows_of(moved)
    assert row["reference"]["file"] == str(tmp_path / "tars" / "0.tar")
