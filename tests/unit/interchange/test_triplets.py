"""Triplets of public sets, in files as their authors write them."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image
from worlds.foreign import (
    BLUE,
    GREEN,
    RED,
    bring,
    draw,
    rows_of,
    see,
    write_csv,
    write_lines,
    write_parquet,
    write_pictures,
    write_tar,
)

from compodiff.errors import InputInvalid

SYNTH = {"original_caption": "a dog on a beach", "edited_caption": "a cat on a beach"}


def entry(key: str, texts: dict, **pictures: bytes) -> dict[str, bytes]:
    own = {"original_image": RED, "edited_image": BLUE} | pictures
    return {**{f"{key}.{name}.jpg": it for name, it in own.items()}, f"{key}.json": json.dumps(texts).encode()}


def test_tars_are_referred_to_and_what_changed_is_put_into_words(tmp_path):
    files = [entry(f"{number:05d}", SYNTH) for number in range(30)]
    path = write_tar(tmp_path / "synth" / "00000.tar", {name: it for own in files for name, it in own.items()})
    found, _ = bring(tmp_path / "synth", "webdataset", tmp_path / "set")
    rows = rows_of(found)
    assert {row["relation"] for row in rows} == {"replace"}
    assert len({text for row in rows for text in row["relative_captions"]}) > 5
    assert all("cat" in row["relative_captions"][0] and row["keyword"] == "cat" for row in rows)
    assert (rows[0]["reference_caption"], rows[0]["target_caption"]) == tuple(SYNTH.values())
    assert {row[end]["file"] for row in rows for end in ("reference", "target")} == {str(path)}
    assert [see(found, rows[7][end]) for end in ("reference", "target")] == [RED, BLUE]
    again, _ = bring(tmp_path / "synth", "webdataset", tmp_path / "again")
    assert again.description.digest == found.description.digest


def test_words_of_a_set_are_kept_without_loading_the_tagger(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    write_tar(tmp_path / "set" / "0.tar", entry("a", {**SYNTH, "edit_prompt": ["turn it", "", "make it a cat"]}))
    (row,) = rows_of(bring(tmp_path / "set", "webdataset", tmp_path / "to")[0])
    assert (row["relative_captions"], row["relation"], row["keyword"]) == (
        ["turn it", "make it a cat"],
        "written",
        None,
    )


def test_instructpix2pix_is_read_from_parquet(tmp_path):
    columns = {
        "original_prompt": ["a dog"] * 3,
        "original_image": [RED] * 3,
        "edit_prompt": ["make it a cat", "make it a cow", "make it a hen"],
        "edited_prompt": ["a cat", "a cow", "a hen"],
        "edited_image": [BLUE, GREEN, BLUE],
    }
    write_parquet(tmp_path / "ip2p" / "data" / "train-00000-of-00002.parquet", columns, row_group_size=2)
    found, _ = bring(tmp_path / "ip2p", "parquet", tmp_path / "set")
    rows = rows_of(found)
    assert [row["relative_captions"] for row in rows] == [[text] for text in columns["edit_prompt"]]
    assert [see(found, row["target"]) for row in rows] == [BLUE, GREEN, BLUE]
    assert len({row["reference"]["offset"] for row in rows}) == 1


def test_the_inverse_edit_of_hq_edit_is_a_triplet_the_other_way(tmp_path):
    texts = {"input": ["a dog"], "edit": ["make it a cat"], "inverse_edit": ["make it a dog"], "output": ["a cat"]}
    write_parquet(tmp_path / "hq" / "train.parquet", texts | {"input_image": [RED], "output_image": [BLUE]})
    found, _ = bring(tmp_path / "hq", "parquet", tmp_path / "set")
    there, back = rows_of(found)
    assert (there["relative_captions"], back["relative_captions"]) == (["make it a cat"], ["make it a dog"])
    assert (back["reference"], back["target"]) == (there["target"], there["reference"])
    assert (back["reference_caption"], back["target_caption"]) == ("a cat", "a dog")
    assert back["key"] == f"{there['key']}-inverse"


def test_megapairs_has_several_texts_and_hard_negatives_in_tars(tmp_path):
    tar = write_tar(tmp_path / "pictures" / "part-0.tar", {"0/a.jpg": RED, "0/b.jpg": BLUE})
    write_tar(tmp_path / "pictures" / "part-1.tar", {"./1/c.jpg": GREEN})
    row = {"q_img": "0/a.jpg", "q_text": ["bluer", "now in blue"], "t_img": "0/b.jpg", "hns": ["0/a.jpg", "1/c.jpg"]}
    path = write_lines(tmp_path / "megapairs.jsonl", [row])
    found, _ = bring(path, "megapairs", tmp_path / "set", pictures=tmp_path / "pictures")
    (row,) = rows_of(found)
    assert row["relative_captions"] == ["bluer", "now in blue"]
    assert (row["reference"]["file"], row["reference_caption"]) == (str(tar), None)
    assert [see(found, row[end]) for end in ("reference", "target")] == [RED, BLUE]
    assert [see(found, place) for place in row["negatives"]] == [GREEN]  # the first is the reference itself
    assert not (tmp_path / "set" / "members.sqlite").exists()


def test_a_path_may_lead_into_a_tar_and_must_where_two_have_the_name(tmp_path):
    for name, content in (("x/a", RED), ("b", BLUE)):
        write_tar(tmp_path / "pictures" / f"{name}.tar", {"1.jpg": content})
    rows = [{"input": "x/a.tar/1.jpg", "output": "b.tar/1.jpg", "edit": "bluer"}]
    path = write_lines(tmp_path / "edits.jsonl.gz", rows)
    columns = {
        "reference_image": ("input",),
        "target_image": ("output",),
        "reference_caption": (),
        "target_caption": (),
    }
    found, _ = bring(path, "manifest", tmp_path / "set", pictures=tmp_path / "pictures", columns=columns)
    (row,) = rows_of(found)
    assert [see(found, row[end]) for end in ("reference", "target")] == [RED, BLUE]
    write_lines(path, [rows[0] | {"input": "1.jpg"}])
    with pytest.raises(InputInvalid, match=r"row 1: names the picture .1\.jpg., which two tars have; write "):
        bring(path, "manifest", tmp_path / "to", pictures=tmp_path / "pictures", columns=columns)


@pytest.mark.parametrize(("form", "name"), [("cc-coir", "cc-coir_train.csv"), ("webvid-covr", "webvid_val.csv")])
def test_covr_names_pictures_without_a_suffix_or_by_their_film(tmp_path, form, name):
    write_pictures(tmp_path / "pictures", {"00/1.jpg": RED, "00/2.png": BLUE})
    suffix = ".mp4" if form == "webvid-covr" else ""
    row = {"txt1": "a dog", "txt2": "a cat", "pth1": f"00/1{suffix}", "pth2": f"00/2{suffix}", "edit": "a cat, please"}
    path = write_csv(tmp_path / name, [row])
    found, _ = bring(path, form, tmp_path / "set", pictures=tmp_path / "pictures")
    (row,) = rows_of(found)
    assert row["split"] == ("validation" if "val" in name else "train")
    assert (row["reference_caption"], row["relative_captions"]) == ("a dog", ["a cat, please"])
    assert [see(found, row[end]) for end in ("reference", "target")] == [RED, BLUE]


@pytest.mark.parametrize("has_captions", [True, False])
def test_lasco_is_read_with_or_without_cocos_captions(tmp_path, has_captions):
    names = [f"val2014/COCO_val2014_{number:012d}.jpg" for number in (28714, 277005)]
    pictures = write_pictures(tmp_path / "coco", dict(zip(names, (RED, BLUE), strict=True)))
    ends = [[28714, names[0]], [277005, names[1]]]
    triplet = {"qid": 28714000, "query-image": ends[0], "query-text": "The person rides", "target-image": ends[1]}
    path, captions = tmp_path / "lasco_train.json", tmp_path / "captions_val2014.json"
    path.write_text(json.dumps([triplet]))
    said = [(2, 28714, "A late one."), (1, 28714, "A man."), (3, 277005, "A bike.")]
    notes = [{"id": number, "image_id": image, "caption": text} for number, image, text in said]
    captions.write_text(json.dumps({"images": [], "annotations": notes}))
    given = [captions] if has_captions else []
    found, _ = bring(path, "lasco", tmp_path / "set", pictures=pictures, captions=given)
    (row,) = rows_of(found)
    told = (row["reference_caption"], row["target_caption"])
    assert told == (("A man.", "A bike.") if has_captions else (None, None))
    assert (row["key"], row["split"], row["relative_captions"]) == ("28714000-277005", "train", ["The person rides"])
    assert see(found, row["target"]) == BLUE


def test_fashioniq_joins_its_two_captions_in_both_orders(tmp_path):
    write_pictures(tmp_path / "images", {"A1.jpg": RED, "A2.png": BLUE})
    triplet = {"candidate": "A1", "target": "A2", "captions": ["is blue.", "is longer"]}
    for name in ("dress", "shirt", "toptee"):
        own = [triplet, triplet | {"target": "gone"}] if name == "dress" else [triplet]
        (tmp_path / "captions").mkdir(exist_ok=True)
        (tmp_path / "image_splits").mkdir(exist_ok=True)
        (tmp_path / "captions" / f"cap.{name}.train.json").write_text(json.dumps(own))
        (tmp_path / "image_splits" / f"split.{name}.train.json").write_text(json.dumps(["A1", "A2", "gone"]))
    with pytest.raises(InputInvalid, match=r"fashioniq dress-1: .* the picture 'gone'.*; leave such out: --skip"):
        bring(tmp_path, "fashioniq-train", tmp_path / "set")
    found, _ = bring(tmp_path, "fashioniq-train", tmp_path / "set", skip_faulty=True)
    rows = rows_of(found)
    assert [row["key"] for row in rows] == ["dress-0", "shirt-0", "toptee-0"]
    assert rows[0]["relative_captions"] == ["is blue and is longer", "is longer and is blue"]
    assert (rows[0]["target_caption"], see(found, rows[0]["target"])) == (None, BLUE)
    assert found.description.notes == {"missing_picture": 1}


def test_cirr_is_read_as_its_val_file(tmp_path):
    write_pictures(tmp_path / "train" / "34", {"train-1.png": RED, "train-2.png": BLUE})
    query = {"pairid": 12, "reference": "train-1", "target_hard": "train-2", "target_soft": {}, "caption": "bluer"}
    query["img_set"] = {"id": 1, "members": ["train-1", "train-2"]}
    for name, content in (
        ("captions/cap.rc2.train.json", [query]),
        ("image_splits/split.rc2.train.json", {f"train-{n}": f"./train/34/train-{n}.png" for n in (1, 2)}),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(json.dumps(content))
    (row,) = rows_of(bring(tmp_path, "cirr-train", tmp_path / "set")[0])
    assert (row["key"], row["split"], row["relative_captions"]) == ("12", "train", ["bluer"])
    assert row["target"]["file"] == str(tmp_path / "train" / "34" / "train-2.png")


def cells(row: dict) -> np.ndarray:
    return np.unpackbits(np.frombuffer(row["mask"], np.uint8)).reshape(64, 64).astype(bool)


def test_masks_of_any_size_become_bits_of_the_whole_picture(tmp_path):
    half = np.zeros((10, 40), np.uint8)
    half[:, 20:] = 255
    stream = io.BytesIO()
    Image.fromarray(half).save(stream, "PNG")
    files = {"a.jpg": RED, "b.jpg": BLUE, "mask.png": stream.getvalue(), "black.png": draw("black", "PNG")}
    write_pictures(tmp_path / "pictures", files)
    common = {"source_image": "a.jpg", "target_image": "b.jpg", "instruction": "x"}
    masks = [{"mask": "mask.png"}, {"mask": "black.png"}, {}]
    path = write_lines(tmp_path / "inter.jsonl", [common | mask for mask in masks])
    found, _ = bring(path, "manifest", tmp_path / "set", pictures=tmp_path / "pictures")
    marked, black, none = rows_of(found)
    assert cells(marked)[:, 32:].all()
    assert not cells(marked)[:, :32].any()
    assert (black["mask"], none["mask"]) == (None, None)


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ([0, 0, 32, 4], slice(0, 16), slice(0, 64)),  # pixels of a picture of 32 x 16
        ([0.5, 0, 1.0, 0.25], slice(0, 16), slice(32, 64)),  # shares of it
        ([[0, 0, 32, 4], [0, 0, 32, 2]], slice(0, 16), slice(0, 64)),
    ],
)
def test_boxes_become_bits_by_the_size_in_the_pictures_header(tmp_path, box, rows, columns):
    header = draw("red", "PNG")[:60]  # whoever decoded it would fail
    write_pictures(tmp_path / "pictures", {"a.png": header, "b.jpg": BLUE})
    row = {"source_image": "a.png", "target_image": "b.jpg", "edit": "x", "mask_box": box}
    path = write_lines(tmp_path / "inter.jsonl", [row])
    found, _ = bring(path, "manifest", tmp_path / "set", pictures=tmp_path / "pictures")
    expected = np.zeros((64, 64), bool)
    expected[rows, columns] = True
    np.testing.assert_array_equal(cells(rows_of(found)[0]), expected)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([40, 0, 60, 10], r"row 1: has a mask that cannot be used: the box .* marks nothing of a picture of 32 x 16"),
        ([1, 2, 3], r"row 1: has the mask_box \[1, 2, 3\], not left, upper, right, lower in pixels"),
        ([10**400, 0, 1, 1], r"row 1: has the mask_box \[10+.*, not left, upper"),
        ("x", "row 1: has the mask_box x, not left, upper"),
    ],
)
def test_a_box_that_marks_nothing_is_named(tmp_path, box, message):
    write_pictures(tmp_path / "pictures", {"a.jpg": RED, "b.jpg": BLUE})
    row = {"source_image": "a.jpg", "target_image": "b.jpg", "edit": "x", "mask_box": box}
    path = write_lines(tmp_path / "inter.jsonl", [row])
    with pytest.raises(InputInvalid, match=message):
        bring(path, "manifest", tmp_path / "set", pictures=tmp_path / "pictures")


def test_a_list_in_one_json_file_is_read_too(tmp_path):
    write_pictures(tmp_path, {"a.jpg": RED, "b.jpg": BLUE})
    path = tmp_path / "edits.json"
    rows = [{"id": number, "input_image": "a.jpg", "output_image": "b.jpg", "edit": "bluer"} for number in (1, 2)]
    path.write_text("\ufeff" + json.dumps(rows))
    assert [row["key"] for row in rows_of(bring(path, "manifest", tmp_path / "set")[0])] == ["1", "2"]
