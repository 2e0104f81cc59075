"""Pairs of a picture and its texts, in files as their authors write them."""

import base64
import json

import pytest
from worlds.foreign import (
    BLUE,
    GREEN,
    RED,
    bring,
    downloaded,
    rows_of,
    see,
    write_csv,
    write_parquet,
    write_pictures,
    write_tar,
)

from compodiff.errors import InputInvalid


def test_tars_of_img2dataset_are_referred_to_where_their_pictures_lie(tmp_path):
    first = {**downloaded("000000000", RED, "a red disc"), **downloaded("000000001", BLUE, "a blue disc")}
    path = write_tar(tmp_path / "laion" / "00000.tar", first)
    found, tally = bring(tmp_path / "laion", "img2dataset", tmp_path / "set")
    rows = rows_of(found)
    assert [(row["key"], row["split"], row["texts"]) for row in rows] == [
        ("000000000", "train", ["a red disc"]),
        ("000000001", "train", ["a blue disc"]),
    ]
    assert [row["picture"]["file"] for row in rows] == [str(path)] * 2
    assert [see(found, row["picture"]) for row in rows] == [RED, BLUE]
    assert not [*(tmp_path / "set").rglob("*.tar")]
    assert (found.description.kind, found.description.licence, tally.notes) == ("pairs", "CC", {})


def test_what_img2dataset_could_not_download_is_left_out_and_counted(tmp_path):
    entries = {**downloaded("0", RED, "a red disc"), **downloaded("1", None, "gone")}
    write_tar(tmp_path / "laion" / "00000.tar", entries)
    write_tar(tmp_path / "laion" / "00001.tar", downloaded("2", BLUE, "a blue disc"))
    status = ["success", "failed_to_download", "failed_to_resize"]
    write_parquet(tmp_path / "laion" / "00001.parquet", {"key": ["2", "3", "4"], "status": status})
    found, _ = bring(tmp_path / "laion", "img2dataset", tmp_path / "set")
    assert [row["key"] for row in rows_of(found)] == ["0", "2"]
    assert found.description.notes == {"not_downloaded": 3}


def test_captions_of_coco_become_one_row_a_picture(tmp_path):
    pictures = write_pictures(tmp_path / "val2014", {"COCO_7.jpg": RED, "COCO_9.jpg": BLUE})
    images = [{"id": 9, "file_name": "COCO_9.jpg"}, {"id": 7, "file_name": "COCO_7.jpg"}]
    said = [(7, 3, "a late one"), (9, 2, "a blue disc"), (7, 1, "a red disc")]
    notes = [{"image_id": image, "id": number, "caption": text} for image, number, text in said]
    captions = tmp_path / "captions_val2014.json"
    captions.write_text(json.dumps({"info": {}, "images": images, "licenses": [], "annotations": notes}))
    found, _ = bring(pictures, "captions", tmp_path / "set", captions=[captions])
    rows = rows_of(found)
    assert [row["texts"] for row in rows] == [["a red disc", "a late one"], ["a blue disc"]]
    assert {row["split"] for row in rows} == {"validation"}
    assert rows[0]["picture"]["file"] == str(pictures / "COCO_7.jpg")


FLICKR = [("7.jpg", "Two men , outside ."), ("7.jpg", 'A "red" disc .'), ("9.jpg", "A blue disc .")]
TEXTS = [["Two men , outside .", 'A "red" disc .'], ["A blue disc ."]]


@pytest.mark.parametrize("form", ["token", "results.csv", "captions.txt"])
def test_captions_of_flickr30k_are_joined_by_picture(tmp_path, form):
    pictures = write_pictures(tmp_path / "flickr30k-images", {"7.jpg": RED, "9.jpg": BLUE})
    path = tmp_path / ("results_20130124.token" if form == "token" else form)
    if form == "token":
        path.write_text("".join(f"{name}#{number}\t{text}\n" for number, (name, text) in enumerate(FLICKR)))
    elif form == "results.csv":
        lines = "".join(f"{name}| {number}| {text}\n" for number, (name, text) in enumerate(FLICKR))
        path.write_text(f"image_name| comment_number| comment\n{lines}")
    else:
        write_csv(path, [{"image": name, "caption": text} for name, text in FLICKR])
    found, _ = bring(pictures, "captions", tmp_path / "set", captions=[path])
    assert [row["texts"] for row in rows_of(found)] == TEXTS
    assert [row["key"] for row in rows_of(found)] == ["7.jpg", "9.jpg"]


def test_splits_of_karpathy_are_kept_and_his_test_pictures_left_out(tmp_path):
    pictures = write_pictures(tmp_path / "images", {"7.jpg": RED, "8.jpg": GREEN, "9.jpg": BLUE})
    images = [
        {"filename": f"{number}.jpg", "split": split, "sentences": [{"raw": "a disc"}, {"raw": split}]}
        for number, split in ((7, "restval"), (8, "val"), (9, "test"))
    ]
    path = tmp_path / "dataset_flickr30k.json"
    path.write_text(json.dumps({"dataset": "flickr30k", "images": images}))
    found, _ = bring(pictures, "captions", tmp_path / "set", captions=[path])
    assert {row["key"]: row["split"] for row in rows_of(found)} == {"7.jpg": "train", "8.jpg": "validation"}
    assert found.description.notes == {"test": 1}


@pytest.mark.parametrize("form", ["addresses", "paths"])
def test_conceptual_captions_name_an_address_or_a_path(tmp_path, form):
    pictures = write_pictures(tmp_path / "cc3m", {"7.jpg": RED, "9.jpg": BLUE})
    path = tmp_path / "Train_GCC.tsv"
    if form == "addresses":
        path.write_text('a "red" disc\thttp://x.org/a/7.jpg?w=1\na blue disc\thttp://x.org/9.jpg\n')
    else:
        path.write_text('filepath\ttitle\n7.jpg\ta "red" disc\n9.jpg\ta blue disc\n')
    found, _ = bring(pictures, "captions", tmp_path / "set", captions=[path])
    assert [row["texts"] for row in rows_of(found)] == [['a "red" disc'], ["a blue disc"]]
    assert [see(found, row["picture"]) for row in rows_of(found)] == [RED, BLUE]


def test_a_text_beside_each_picture_holds_a_caption_a_line(tmp_path):
    files = {"train/a.jpg": RED, "train/a.txt": b"a red disc\n\nround\n", "val/b.png": BLUE, "val/b.txt": b"blue"}
    write_pictures(tmp_path / "mine", {**files, "train/c.jpg": GREEN})
    with pytest.raises(InputInvalid, match=r"c\.jpg: the captions beside it, c\.txt, cannot be read: .*--skip-faulty"):
        bring(tmp_path / "mine", "captions", tmp_path / "set")
    found, _ = bring(tmp_path / "mine", "captions", tmp_path / "set", skip_faulty=True)
    assert [(row["key"], row["split"], row["texts"]) for row in rows_of(found)] == [
        ("train/a.jpg", "train", ["a red disc", "round"]),
        ("val/b.png", "validation", ["blue"]),
    ]
    assert found.description.notes == {"empty_text": 1}


def test_pictures_in_parquet_go_as_they_are_into_the_shards_own_tar(tmp_path):
    columns = {"image": [RED, BLUE, RED], "caption": [["a red disc", "round"], ["a blue disc"], ["red again"]]}
    write_parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet", columns)
    found, _ = bring(tmp_path / "hub", "parquet", tmp_path / "set")
    rows = rows_of(found)
    assert [row["texts"] for row in rows] == columns["caption"]
    assert [see(found, row["picture"]) for row in rows] == [RED, BLUE, RED]
    assert rows[0]["picture"] == rows[2]["picture"]
    assert rows[0]["picture"]["file"] == "train-00000-000.tar"


def test_several_columns_may_hold_the_texts(tmp_path):
    columns = {"image": [RED], "caption_0": ["a red disc"], "caption_1": ["round"]}
    write_parquet(tmp_path / "hub" / "a.parquet", columns)
    found, _ = bring(tmp_path / "hub", "parquet", tmp_path / "set", columns={"texts": ("caption_0", "caption_1")})
    assert rows_of(found)[0]["texts"] == ["a red disc", "round"]


def test_a_table_of_paths_takes_its_pictures_from_a_folder(tmp_path):
    pictures = write_pictures(tmp_path / "pictures", {"a/7.jpg": RED})
    write_parquet(tmp_path / "hub" / "a.parquet", {"image": [{"bytes": None, "path": "a/7.jpg"}], "text": ["red"]})
    with pytest.raises(InputInvalid, match=r"row 0: has 'a/7\.jpg' for a picture; if it is a path, .* --pictures FOLD"):
        bring(tmp_path / "hub", "parquet", tmp_path / "none")
    found, _ = bring(tmp_path / "hub", "parquet", tmp_path / "set", pictures=pictures)
    assert rows_of(found)[0]["picture"]["file"] == str(pictures / "a" / "7.jpg")


def test_a_picture_may_be_plain_bytes_or_base64_and_dates_are_passed_over(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    day = pa.array([2**62], pa.timestamp("us"))  # which Python has no date for
    (tmp_path / "hub").mkdir()
    for name, value in (("a", RED), ("b", base64.b64encode(BLUE).decode())):
        pq.write_table(pa.table({"image": [value], "text": ["x"], "day": day}), tmp_path / "hub" / f"{name}.parquet")
    found, _ = bring(tmp_path / "hub", "parquet", tmp_path / "set")
    assert [see(found, row["picture"]) for row in rows_of(found)] == [RED, BLUE]
