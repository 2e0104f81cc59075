"""Export and import, over triplets that `synthesize` would make: PNG pictures of the real kind, with scores."""

import io
import json
import os
import re
import tarfile
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from compodiff.embeddings.generated import GeneratedPictures
from compodiff.triplets.manifest import finish
from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.interchange import lasco
from compodiff.interchange.exporting import export_triplets
from compodiff.interchange.formats import ForeignSet, import_triplets
from compodiff.interchange.importing import Importer
from compodiff.interchange.wording import WordingChange, find_change, put_in_words
from compodiff.language.terms import Tagger
from compodiff.params import SimilarityFloors
from compodiff.storage import shards
from compodiff.validation import MANIFEST, add_evidence, has_schema

FLOORS = SimilarityFloors.model_validate(dict.fromkeys(SimilarityFloors.model_fields, -1.0))
CAPTIONS = ("a red disc", "a blue disc", "make it blue")


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")


def picture(colour: str, format_name: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(stream, format_name)
    return stream.getvalue()


@pytest.fixture
def triplets(tmp_path) -> Path:
    """Two shards of train and one of validation; one row of each is rejected; the first entries have masks."""
    folder = tmp_path / "triplets"
    paths = [folder / name for name in ("train-00000.tar", "train-00001.tar", "validation-00000.tar")]
    for path in paths:
        rows = [row(path, number) for number in range(4)]
        with shards.open_shard_writer(path) as shard:
            shard.record(pd.DataFrame(rows).astype(MANIFEST)[[*rows[0]]])
            for number, each in enumerate(rows[:-1]):
                text = json.dumps(each | {"keyword": "blue"}, sort_keys=True, ensure_ascii=False).encode()
                mask = {"mask.png": picture("white")} if number == 0 else {}
                shard.add(
                    each["key"], {"reference.png": picture("red"), "target.png": picture("blue"), **mask, "json": text}
                )
    finish(folder, paths)
    return folder


def row(path: Path, number: int) -> dict:
    split = path.stem.partition("-")[0]
    scores = {name: float(np.float32(0.1 * number + 0.3)) for name in SimilarityFloors.model_fields}
    names = {"key": f"{path.stem}-{number}", "shard": path.name, "reference": f"r{number}", "target": f"t{number}"}
    texts = dict(zip(("reference_caption", "target_caption", "relative_caption"), CAPTIONS, strict=True))
    said = texts | {"relation": "colour", "split": split}
    return names | said | scores | {"accepted": number < 3, "rejected_by": "" if number < 3 else "directional"}


def importer(encoder: Path = Path("none"), **changes) -> Importer:
    return Importer(encoder=encoder, floors=FLOORS, batch_size=4, split="train", seed=17, **changes)


@pytest.mark.parametrize("format_name", ["webdataset", "parquet"])
def test_what_was_exported_comes_back_as_it_was(triplets, tmp_path, format_name):
    assert export_triplets(triplets, format_name, tmp_path / "out") == 9
    back = tmp_path / "back"
    assert import_triplets(ForeignSet(tmp_path / "out", format_name), importer(), back) == {
        "triplets": 9,
        "accepted": 9,
        "faulty": 0,
    }
    rows, original = (shards.read_table(folder / "manifest.parquet") for folder in (back, triplets))
    pd.testing.assert_frame_equal(rows, original[original["accepted"]].reset_index(drop=True))
    assert has_schema(rows)
    for path in sorted(triplets.glob("*.tar")):
        ours, theirs = (dict(shards.read_entries(folder / path.name)) for folder in (triplets, back))
        assert ours == theirs
    own = shards.read_table(back / "pictures.parquet")
    assert dict(zip(own["picture_id"], own["split"], strict=True))["r0"] == "validation"


def test_exports_have_the_names_of_the_field(triplets, tmp_path):
    export_triplets(triplets, "webdataset", tmp_path / "tars")
    with tarfile.open(tmp_path / "tars" / "train-00000.tar") as tar:
        names = [name for name in tar.getnames() if name.startswith("train-00000-0.")]
        assert names == [f"train-00000-0.{end}" for end in ("json", "mask.png", "reference.png", "target.png", "txt")]
        assert tar.extractfile("train-00000-0.txt").read() == b"make it blue"
    export_triplets(triplets, "parquet", tmp_path / "tables")
    path = tmp_path / "tables" / "data" / "train-00000-of-00002.parquet"
    schema = pq.read_schema(path)
    assert schema.field("target_image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["reference_image"] == features["mask_image"] == {"_type": "Image"}
    assert features["directional"] == {"dtype": "float32", "_type": "Value"}
    first = pq.read_table(path).to_pylist()[0]
    assert first["reference_image"]["bytes"] == picture("red")
    assert (first["relative_caption"], first["keyword"]) == ("make it blue", "blue")


def test_equal_triplets_give_equal_exports_and_none_is_written_over(triplets, tmp_path):
    for name in ("first", "second"):
        export_triplets(triplets, "webdataset", tmp_path / name)
    read = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second")]
    assert read[0] == read[1]
    (tmp_path / "first" / "notes.txt").write_text("mine")
    with pytest.raises(InputInvalid, match=r"first holds 'notes.txt', which compodiff did not write"):
        export_triplets(triplets, "webdataset", tmp_path / "first")
    assert (tmp_path / "first" / "notes.txt").read_text() == "mine"


@pytest.fixture(scope="module")
def encoder(tiny_encoder, tmp_path_factory) -> Path:
    from compodiff.encoders import save_encoder

    folder = tmp_path_factory.mktemp("artifacts") / "encoder"
    save_encoder(tiny_encoder, folder)
    return folder


SYNTH = {"original_caption": "a dog on a beach", "edited_caption": "a cat on a beach"}


def write_tar(path: Path, entries: dict[str, dict[str, bytes]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, files in entries.items():
            for extension, content in files.items():
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def foreign(**changes) -> dict[str, bytes]:
    texts = json.dumps(SYNTH).encode()
    return {
        "original_image.jpg": picture("red", "JPEG"),
        "edited_image.jpg": picture("blue", "JPEG"),
        "json": texts,
    } | changes


def test_a_set_without_relative_captions_gets_ours_and_is_judged(tmp_path, encoder):
    write_tar(tmp_path / "set" / "00000.tar", {f"{number:05d}": foreign() for number in range(30)})
    found = import_triplets(ForeignSet(tmp_path / "set", "webdataset"), importer(encoder), tmp_path / "back")
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


def test_masks_of_another_set_become_cells_of_what_the_encoder_sees(tmp_path, encoder):
    half = np.zeros((32, 32), np.uint8)
    half[:, 16:] = 255
    stream = io.BytesIO()
    Image.fromarray(half).save(stream, "PNG")  # of another size than the pictures
    boxed = {"json": json.dumps(SYNTH | {"mask_box": [0, 0, 16, 4]}).encode()}
    entries = {"a": foreign(**{"mask.png": stream.getvalue()}), "b": foreign(**boxed), "c": foreign()}
    write_tar(tmp_path / "set" / "00000.tar", entries)
    import_triplets(ForeignSet(tmp_path / "set", "webdataset"), importer(encoder), tmp_path / "back")
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
def test_a_box_that_marks_nothing_is_named(tmp_path, encoder, box, message):
    write_tar(tmp_path / "set" / "00000.tar", {"a": foreign(json=json.dumps(SYNTH | {"mask_box": box}).encode())})
    with pytest.raises(InputInvalid, match=message):
        import_triplets(ForeignSet(tmp_path / "set", "webdataset"), importer(encoder), tmp_path / "back")


def test_a_parquet_set_with_its_own_words_keeps_them(tmp_path, encoder):
    cells = [{"bytes": picture(colour), "path": None} for colour in ("red", "blue", "green")]
    table = {"input_image": cells, "edited_image": cells[::-1], "edit_prompt": ["turn it", "turn it", "and back"]}
    captions = {"input": ["one disc"] * 3, "output": ["another thing"] * 3}
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table(table | captions), tmp_path / "set" / "part.parquet", row_group_size=2)
    import_triplets(ForeignSet(tmp_path / "set", "parquet"), importer(encoder), tmp_path / "back")
    rows = shards.read_table(tmp_path / "back" / "manifest.parquet")
    assert rows["relative_caption"].tolist() == ["turn it", "turn it", "and back"]
    assert rows["shard"].tolist() == ["train-00000.tar", "train-00000.tar", "train-00001.tar"]
    entries = dict(shards.read_entries(tmp_path / "back" / "train-00000.tar"))
    with Image.open(io.BytesIO(entries["train-00000-000000"]["reference.png"])) as shown:
        assert shown.getpixel((0, 0)) == (255, 0, 0)


def test_lasco_takes_its_captions_from_coco(tmp_path, encoder):
    pictures = tmp_path / "coco" / "val2014"
    pictures.mkdir(parents=True)
    for number, colour in ((28714, "red"), (277005, "blue")):
        (pictures / f"COCO_val2014_{number:012d}.jpg").write_bytes(picture(colour, "JPEG"))
    ends = [[number, f"val2014/COCO_val2014_{number:012d}.jpg"] for number in (28714, 277005)]
    triplet = {"qid": 28714000, "query-image": ends[0], "query-text": "The person rides", "target-image": ends[1]}
    annotations, captions = tmp_path / "lasco_train.json", tmp_path / "captions_val2014.json"
    annotations.write_text(json.dumps([triplet]))
    said = [{"id": 2, "image_id": 28714, "caption": "A late one."}, {"id": 1, "image_id": 28714, "caption": "A man."}]
    said.append({"id": 3, "image_id": 277005, "caption": "A bike."})
    captions.write_text(json.dumps({"annotations": said}))
    source = ForeignSet(tmp_path / "coco", "lasco", annotations=annotations, captions=(captions,))
    import_triplets(source, importer(encoder), tmp_path / "back")
    (row,) = shards.read_table(tmp_path / "back" / "manifest.parquet").to_dict("records")
    assert (row["reference_caption"], row["target_caption"]) == ("A man.", "A bike.")
    assert (row["relative_caption"], row["relation"]) == ("The person rides", "written")
    captions.write_text(json.dumps({"annotations": said[:2]}))
    with pytest.raises(InputInvalid, match=r"LaSCo triplet 28714000: no caption of picture 277005; give --captions"):
        import_triplets(source, importer(encoder), tmp_path / "again")
    with pytest.raises(InputInvalid, match="LaSCo has no captions; give --annotations"):
        import_triplets(ForeignSet(tmp_path / "coco", "lasco"), importer(encoder), tmp_path / "again")


BAD = {
    r"00000\.tar: b: a picture cannot be read \(.*\); leave such out: --skip-faulty": {
        "a": foreign(),
        "b": foreign(**{"edited_image.jpg": picture("blue", "JPEG")[:40]}),
    },
    r"00000\.tar: a has no column for target_image; it has: .*; say which it is: --column target_image=NAME": {
        "a": {"original_image.png": picture("red"), "json": json.dumps(SYNTH).encode()}
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
def test_a_fault_is_one_line_that_names_the_item(tmp_path, encoder, message):
    write_tar(tmp_path / "set" / "00000.tar", BAD[message])
    with pytest.raises(InputInvalid, match=message) as fault:
        import_triplets(ForeignSet(tmp_path / "set", "webdataset"), importer(encoder), tmp_path / "back")
    assert "\n" not in str(fault.value)


def test_unreadable_pictures_may_be_left_out(tmp_path, encoder, caplog):
    entries = {"a": foreign(), "b": foreign(**{"edited_image.jpg": b"no picture"}), "c": foreign()}
    write_tar(tmp_path / "set" / "00000.tar", entries)
    found = import_triplets(
        ForeignSet(tmp_path / "set", "webdataset"), importer(encoder, skip_faulty=True), tmp_path / "back"
    )
    assert found["triplets"] == 2
    assert re.search(r"00000\.tar: b: a picture cannot be read .*; left out", caplog.text)


def test_files_cut_short_are_named(triplets, tmp_path):
    for format_name, ending in (("webdataset", "tar"), ("parquet", "parquet")):
        export_triplets(triplets, format_name, tmp_path / format_name)
        path = sorted((tmp_path / format_name).rglob(f"*.{ending}"))[1]
        whole = path.read_bytes()
        for length in (len(whole) // 2, 700):
            path.write_bytes(whole[:length])
            with pytest.raises(InputInvalid, match=rf"train-00001.*\.{ending} is cut short or no"):
                import_triplets(ForeignSet(tmp_path / format_name, format_name), importer(), tmp_path / "back")
    shard = triplets / "train-00001.tar"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(InputInvalid, match=r"train-00001\.tar is cut short: 1000 of \d+ bytes"):
        export_triplets(triplets, "webdataset", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_import_continues_with_the_parts_that_are_missing(triplets, tmp_path):
    export_triplets(triplets, "webdataset", tmp_path / "out")
    source = ForeignSet(tmp_path / "out", "webdataset")
    import_triplets(source, importer(), tmp_path / "back")
    kept, gone = (tmp_path / "back" / name for name in ("train-00000.tar", "train-00001.tar"))
    made, content = kept.stat().st_mtime_ns, gone.read_bytes()
    gone.unlink()
    import_triplets(source, importer(), tmp_path / "back")
    assert (kept.stat().st_mtime_ns, gone.read_bytes()) == (made, content)


CHANGES = {
    ("a dog on a beach", "a cat on a beach"): WordingChange("replace", "a dog", "a cat"),
    ("a dog runs", "an owl runs"): WordingChange("replace", "a dog", "an owl"),
    ("A dog.", "A dog with a red hat."): WordingChange("add", "", "a red hat"),
    ("two boats and snow", "two boats"): WordingChange("remove", "snow", ""),
    ("a red car", "a blue car"): WordingChange("attribute", "red", "blue", "car"),
    ("a big red dog", "a big blue dog"): WordingChange("attribute", "red", "blue", "dog"),
    ("a red dog on a mat", "a dog on a mat"): WordingChange("replace", "a red dog", "a dog"),
    ("a dog on a mat", "a big dog on a mat"): WordingChange("replace", "a dog", "a big dog"),
    ("two dogs on a sofa", "three dogs on a sofa"): WordingChange("replace", "two dogs", "three dogs"),
    ("two cats on a sofa", "a cat on a sofa"): WordingChange("replace", "two cats", "a cat"),
    ("a coffee table in a room", "a dining table in a room"): WordingChange(
        "replace", "a coffee table", "a dining table"
    ),
    ("a wooden house", "a brick house"): WordingChange("replace", "a wooden house", "a brick house"),
    ("a boat on the lake", "a boat on the sea"): WordingChange("replace", "the lake", "the sea"),
    ("a black cat and a white dog", "a black cat and a brown dog"): WordingChange("attribute", "white", "brown", "dog"),
    ("a dog with a hat", "a dog"): WordingChange("remove", "a hat", ""),
    **{
        both: WordingChange("rewritten", *both)
        for both in (
            ("a man eats", "the sea at night"),
            ("the same", "the same"),
            ("a dog", "a dog wearing a hat"),
            ("a man sits on a bench", "a man stands on a bench"),
            ("a cat in a box", "a cat on a box"),
            ("portrait of a woman", "portrait of a woman as a robot"),
        )
    },
}


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return Tagger()


@pytest.mark.parametrize("captions", CHANGES)
def test_a_change_is_found_between_captions_and_named(tagger, captions):
    change = find_change(*tagger.tag(captions))
    assert change == CHANGES[captions]
    asked = {put_in_words(change, Random(seed)) for seed in range(40)}
    assert len(asked) >= 4
    assert all(change.target in text for text in asked if change.target)


def test_a_triplet_of_an_export_that_does_not_decode_is_named_or_left_out(triplets, tmp_path, caplog):
    export_triplets(triplets, "parquet", tmp_path / "out")
    path = sorted((tmp_path / "out").rglob("*.parquet"))[0]
    rows = pq.read_table(path)
    cells = rows["target_image"].to_pylist()
    cells[1]["bytes"] = cells[1]["bytes"][:40]
    place = rows.column_names.index("target_image")
    pq.write_table(
        rows.set_column(place, rows.schema.field(place), pa.array(cells, rows.schema.field(place).type)), path
    )
    source = ForeignSet(tmp_path / "out", "parquet")
    with pytest.raises(InputInvalid, match=r"row 1: a picture cannot be read .*; leave such out: --skip-faulty"):
        import_triplets(source, importer(), tmp_path / "back")
    found = import_triplets(source, importer(skip_faulty=True), tmp_path / "back")
    assert found == {"triplets": 8, "accepted": 8, "faulty": 1}
    assert "row 1: a picture cannot be read" in caplog.text


FAULTS = {
    "both captions say 'the dog on a beach'": {"edited_caption": "the dog on a beach"},
    "the keyword 'zebra' is missing in the target caption 'a cat on a beach'": {"keyword": "zebra"},
    "has an empty target_caption": {"edited_caption": " "},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_triplet_whose_texts_are_faulty_is_named_or_left_out(tmp_path, encoder, caplog, fault):
    entries = {"a1": foreign(), "b2": foreign(json=json.dumps(SYNTH | FAULTS[fault]).encode()), "c3": foreign()}
    source = ForeignSet(write_tar(tmp_path / "set" / "00000.tar", entries).parent, "webdataset")
    with pytest.raises(InputInvalid, match=rf"00000\.tar: b2: {fault}; leave such out: --skip-faulty"):
        import_triplets(source, importer(encoder), tmp_path / "back")
    assert import_triplets(source, importer(encoder, skip_faulty=True), tmp_path / "back")["triplets"] == 2
    assert f"b2: {fault}; left out" in caplog.text
    keys = shards.read_table(tmp_path / "back" / "manifest.parquet")["key"]
    assert [*keys] == ["train-00000-000000-a1", "train-00000-000002-c3"]


def test_parts_that_are_faulty_as_a_whole_are_counted_and_the_others_imported(triplets, tmp_path, caplog):
    """Every row of one part is faulty, another file is cut short, a third is no parquet."""
    export_triplets(triplets, "parquet", tmp_path / "out")
    first, second, *_ = sorted((tmp_path / "out").rglob("*.parquet"))
    rows = pq.read_table(first)
    place = rows.column_names.index("target_image")
    nothing = pa.array([{"bytes": b"no picture", "path": "x"}] * len(rows), rows.schema.field(place).type)
    pq.write_table(rows.set_column(place, rows.schema.field(place), nothing), first)
    first.with_name("train-00008-of-00009.parquet").write_bytes(second.read_bytes()[:-50])
    first.with_name("train-00009-of-00009.parquet").touch()
    os.mkfifo(first.with_name("pipe.parquet"))
    source = ForeignSet(tmp_path / "out", "parquet")
    with pytest.raises(InputInvalid, match="is cut short or not parquet"):
        import_triplets(source, importer(), tmp_path / "back")
    found = import_triplets(source, importer(skip_faulty=True), tmp_path / "back")
    assert found == {"triplets": 9 - len(rows), "accepted": 9 - len(rows), "faulty": len(rows) + 2}
    assert "is cut short or not parquet" in caplog.text


def test_a_tar_that_was_cut_is_counted_and_the_others_imported(tmp_path, encoder):
    path = write_tar(tmp_path / "set" / "00000.tar", {key: foreign() for key in ("a1", "b2", "c3")})
    (tmp_path / "set" / "00001.tar").write_bytes(path.read_bytes()[:4000])
    found = import_triplets(
        ForeignSet(tmp_path / "set", "webdataset"), importer(encoder, skip_faulty=True), tmp_path / "b"
    )
    assert (found["triplets"], found["faulty"]) == (3, 1)


def test_faults_of_lasco_are_named(tmp_path):
    good = {"qid": 1, "query-image": [2, "a.jpg"], "query-text": "x", "target-image": [3, "b.jpg"]}
    annotations, captions = tmp_path / "lasco.json", tmp_path / "captions.json"
    for bad, fault in (
        (good | {"query-image": "a.jpg"}, r"triplet 0 has the query-image 'a\.jpg', not \[number, file\]"),
        ("x", "triplet 0 has no qid, query-image"),
    ):
        annotations.write_text(json.dumps([bad]))
        with pytest.raises(InputInvalid, match=fault):
            lasco.read_triplets(annotations)
    captions.write_text(json.dumps({"annotations": [{"image_id": 2, "caption": "a dog"}]}))
    with pytest.raises(InputInvalid, match=r"captions\.json: a caption has no id, image_id or caption"):
        lasco.read_captions([captions])
