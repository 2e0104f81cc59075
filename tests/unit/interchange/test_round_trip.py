"""Export, and import of what was exported, over triplets that `synthesize` would make: PNG pictures, with scores."""

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from compodiff.triplets.manifest import finish
from factories import encode_picture, make_importer

from compodiff.errors import InputInvalid
from compodiff.interchange.exporting import export_triplets
from compodiff.interchange.formats import ForeignSet, import_triplets
from compodiff.params import SimilarityFloors
from compodiff.storage import shards
from compodiff.validation import MANIFEST, has_schema

CAPTIONS = ("a red disc", "a blue disc", "make it blue")
pytestmark = pytest.mark.usefixtures("one_process")


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
                mask = {"mask.png": encode_picture("white")} if number == 0 else {}
                pictures = {"reference.png": encode_picture("red"), "target.png": encode_picture("blue"), **mask}
                shard.add(each["key"], pictures | {"json": text})
    finish(folder, paths)
    return folder


def row(path: Path, number: int) -> dict:
    split = path.stem.partition("-")[0]
    scores = {name: float(np.float32(0.1 * number + 0.3)) for name in SimilarityFloors.model_fields}
    names = {"key": f"{path.stem}-{number}", "shard": path.name, "reference": f"r{number}", "target": f"t{number}"}
    texts = dict(zip(("reference_caption", "target_caption", "relative_caption"), CAPTIONS, strict=True))
    said = texts | {"relation": "colour", "split": split}
    return names | said | scores | {"accepted": number < 3, "rejected_by": "" if number < 3 else "directional"}


@pytest.mark.parametrize("format_name", ["webdataset", "parquet"])
def test_what_was_exported_comes_back_as_it_was(triplets, tmp_path, format_name):
    assert export_triplets(triplets, format_name, tmp_path / "out") == 9
    back = tmp_path / "back"
    assert import_triplets(ForeignSet(tmp_path / "out", format_name), make_importer(), back) == {
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
    assert first["reference_image"]["bytes"] == encode_picture("red")
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


def test_files_cut_short_are_named(triplets, tmp_path):
    for format_name, ending in (("webdataset", "tar"), ("parquet", "parquet")):
        export_triplets(triplets, format_name, tmp_path / format_name)
        path = sorted((tmp_path / format_name).rglob(f"*.{ending}"))[1]
        whole = path.read_bytes()
        for length in (len(whole) // 2, 700):
            path.write_bytes(whole[:length])
            with pytest.raises(InputInvalid, match=rf"train-00001.*\.{ending} is cut short or no"):
                import_triplets(ForeignSet(tmp_path / format_name, format_name), make_importer(), tmp_path / "back")
    shard = triplets / "train-00001.tar"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(InputInvalid, match=r"train-00001\.tar is cut short: 1000 of \d+ bytes"):
        export_triplets(triplets, "webdataset", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_import_continues_with_the_parts_that_are_missing(triplets, tmp_path):
    export_triplets(triplets, "webdataset", tmp_path / "out")
    source = ForeignSet(tmp_path / "out", "webdataset")
    import_triplets(source, make_importer(), tmp_path / "back")
    kept, gone = (tmp_path / "back" / name for name in ("train-00000.tar", "train-00001.tar"))
    made, content = kept.stat().st_mtime_ns, gone.read_bytes()
    gone.unlink()
    import_triplets(source, make_importer(), tmp_path / "back")
    assert (kept.stat().st_mtime_ns, gone.read_bytes()) == (made, content)


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
        import_triplets(source, make_importer(), tmp_path / "back")
    found = import_triplets(source, make_importer(skip_faulty=True), tmp_path / "back")
    assert found == {"triplets": 8, "accepted": 8, "faulty": 1}
    assert "row 1: a picture cannot be read" in caplog.text


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
        import_triplets(source, make_importer(), tmp_path / "back")
    found = import_triplets(source, make_importer(skip_faulty=True), tmp_path / "back")
    assert found == {"triplets": 9 - len(rows), "accepted": 9 - len(rows), "faulty": len(rows) + 2}
    assert "is cut short or not parquet" in caplog.text
