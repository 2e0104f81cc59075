"""Import of sets that others made: pictures and captions, with or without relative captions and masks."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from compodiff.embeddings.generated import GeneratedPictures
from factories import draw_box_mask, encode_picture, make_importer, write_webdataset
from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.interchange.formats import ForeignSet, import_triplets
from compodiff.storage import shards
from compodiff.validation import add_evidence, has_schema

pytestmark = pytest.mark.usefixtures("one_process")


SYNTH = {"original_caption": "a dog on a beach", "edited_caption": "a cat on a beach"}


def write_set(folder: Path, samples: dict[str, dict[str, bytes]]) -> ForeignSet:
    write_webdataset(folder / "set" / "00000.tar", samples)
    return ForeignSet(folder / "set", "webdataset")


def foreign(**changes) -> dict[str, bytes]:
    pictures = {"original_image.jpg": encode_picture("red", "JPEG"), "edited_image.jpg": encode_picture("blue", "JPEG")}
    return pictures | {"json": json.dumps(SYNTH).encode()} | changes


def test_a_set_without_relative_captions_gets_ours_and_is_judged(tmp_path, encoder_folder):
    source = write_set(tmp_path, {f"{number:05d}": foreign() for number in range(30)})
    found = import_triplets(source, make_importer(encoder_folder), tmp_path / "back")
    assert found == {"triplets": 30, "accepted": 30, "faulty": 0}
    rows = shards.read_table(tmp_path / "back" / "manifest.parquet")
    assert has_schema(rows)
    assert set(rows["relation"]) == {"replace"}
    assert len(set(rows["relative_caption"])) > 5
    assert all("cat" in text and "dog" in text for text in rows["relative_caption"])
    assert rows["image_caption_target"].between(-1, 1).all()
    (_, first), *_ = shards.read_entries(tmp_path / "back" / "train-00000.tar")
    assert json.loads(first["json"])["keyword"] == "cat"
    catalogue = pd.DataFrame({"split": ["test"]}, index=["elsewhere"])
    evidence = add_evidence(rows, tmp_path / "back", catalogue, lambda _: Image.new("RGB", (4, 4)), workers=1)
    assert set(evidence["reference_split"]) == set(evidence["target_split"]) == {"train"}
    assert evidence["target_pixels"].notna().all()
    report = json.loads((tmp_path / "back" / "report.json").read_text())
    assert report["candidates_by_relation"] == {"replace": 30}


def test_masks_of_another_set_become_cells_of_what_the_encoder_sees(tmp_path, encoder_folder):
    half = encode_picture(draw_box_mask((32, 32), (16, 0, 32, 32)))  # of another size than the pictures
    boxed = {"json": json.dumps(SYNTH | {"mask_box": [0, 0, 16, 4]}).encode()}
    entries = {"a": foreign(**{"mask.png": half}), "b": foreign(**boxed), "c": foreign()}
    source = write_set(tmp_path, entries)
    import_triplets(source, make_importer(encoder_folder), tmp_path / "back")
    a, b, c = (files for _, files in shards.read_entries(tmp_path / "back" / "train-00000.tar"))
    cells = [np.asarray(Image.open(io.BytesIO(files["mask.png"]))) for files in (a, b)]
    assert [it.shape for it in cells] == [(64, 64)] * 2
    assert cells[0][:, 32:].all()
    assert not cells[0][:, :32].any()
    assert cells[1][:16].all()
    assert not cells[1][16:].any()
    assert "mask.png" not in c
    rows = shards.read_table(tmp_path / "back" / "manifest.parquet")
    assert len(GeneratedPictures.find(tmp_path / "back", rows, set()).masks) == 2


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([40, 0, 60, 10], r"00000\.tar: a: the box .* marks nothing of a picture of 16 x 16"),
        ([1, 2, 3], r"00000\.tar: a: has the mask_box \[1, 2, 3\], not left, upper, right, lower in pixels"),
    ],
)
def test_a_box_that_marks_nothing_is_named(tmp_path, encoder_folder, box, message):
    source = write_set(tmp_path, {"a": foreign(json=json.dumps(SYNTH | {"mask_box": box}).encode())})
    with pytest.raises(InputInvalid, match=message):
        import_triplets(source, make_importer(encoder_folder), tmp_path / "back")


def test_a_parquet_set_with_its_own_words_keeps_them(tmp_path, encoder_folder):
    cells = [{"bytes": encode_picture(colour), "path": None} for colour in ("red", "blue", "green")]
    table = {"input_image": cells, "edited_image": cells[::-1], "edit_prompt": ["turn it", "turn it", "and back"]}
    captions = {"input": ["one disc"] * 3, "output": ["another thing"] * 3}
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table(table | captions), tmp_path / "set" / "part.parquet", row_group_size=2)
    import_triplets(ForeignSet(tmp_path / "set", "parquet"), make_importer(encoder_folder), tmp_path / "back")
    rows = shards.read_table(tmp_path / "back" / "manifest.parquet")
    assert rows["relative_caption"].tolist() == ["turn it", "turn it", "and back"]
    assert rows["shard"].tolist() == ["train-00000.tar", "train-00000.tar", "train-00001.tar"]
    entries = dict(shards.read_entries(tmp_path / "back" / "train-00000.tar"))
    with Image.open(io.BytesIO(entries["train-00000-000000"]["reference.png"])) as shown:
        assert shown.getpixel((0, 0)) == (255, 0, 0)


BAD = {
    r"00000\.tar: b: a picture cannot be read \(.*\); leave such out: --skip-faulty": {
        "a": foreign(),
        "b": foreign(**{"edited_image.jpg": encode_picture("blue", "JPEG")[:40]}),
    },
    r"00000\.tar: a has no column for target_image; it has: .*; say which it is: --column target_image=NAME": {
        "a": {"original_image.png": encode_picture("red"), "json": json.dumps(SYNTH).encode()}
    },
    r"00000\.tar: b: has an empty target_caption": {
        "a": foreign(),
        "b": foreign(json=json.dumps({"original_caption": "a dog"}).encode()),
    },
    r"00000\.tar: a\.json is not JSON": {"a": foreign(json=b"{")},
    r"00000\.tar: a\.json is no JSON object": {"a": foreign(json=b"[1]")},
    r"00000\.tar holds no triplet; leave it out": {},
}


@pytest.mark.parametrize("message", BAD)
def test_a_fault_is_one_line_that_names_the_item(tmp_path, encoder_folder, message):
    source = write_set(tmp_path, BAD[message])
    with pytest.raises(InputInvalid, match=message) as fault:
        import_triplets(source, make_importer(encoder_folder), tmp_path / "back")
    assert "\n" not in str(fault.value)


def test_unreadable_pictures_may_be_left_out(tmp_path, encoder_folder, caplog):
    entries = {"a": foreign(), "b": foreign(**{"edited_image.jpg": b"no picture"}), "c": foreign()}
    source = write_set(tmp_path, entries)
    found = import_triplets(source, make_importer(encoder_folder, skip_faulty=True), tmp_path / "back")
    assert found["triplets"] == 2
    assert re.search(r"00000\.tar: b: a picture cannot be read .*; left out", caplog.text)


FAULTS = {
    "both captions say 'the dog on a beach'": {"edited_caption": "the dog on a beach"},
    "the keyword 'zebra' is missing in the target caption 'a cat on a beach'": {"keyword": "zebra"},
    "has an empty target_caption": {"edited_caption": " "},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_triplet_whose_texts_are_faulty_is_named_or_left_out(tmp_path, encoder_folder, caplog, fault):
    entries = {"a1": foreign(), "b2": foreign(json=json.dumps(SYNTH | FAULTS[fault]).encode()), "c3": foreign()}
    source = write_set(tmp_path, entries)
    with pytest.raises(InputInvalid, match=rf"00000\.tar: b2: {fault}; leave such out: --skip-faulty"):
        import_triplets(source, make_importer(encoder_folder), tmp_path / "back")
    assert import_triplets(source, make_importer(encoder_folder, skip_faulty=True), tmp_path / "back")["triplets"] == 2
    assert f"b2: {fault}; left out" in caplog.text
    keys = shards.read_table(tmp_path / "back" / "manifest.parquet")["key"]
    assert [*keys] == ["train-00000-000000-a1", "train-00000-000002-c3"]


def test_a_tar_that_was_cut_is_counted_and_the_others_imported(tmp_path, encoder_folder):
    source = write_set(tmp_path, {key: foreign() for key in ("a1", "b2", "c3")})
    (tmp_path / "set" / "00001.tar").write_bytes((tmp_path / "set" / "00000.tar").read_bytes()[:4000])
    found = import_triplets(source, make_importer(encoder_folder, skip_faulty=True), tmp_path / "b")
    assert (found["triplets"], found["faulty"]) == (3, 1)
