"""What is exported has its pictures inside, as their bytes are, and comes back as the same rows."""

import json
import tarfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from worlds.foreign import BLUE, GREEN, RED, bring, draw, rows_of, see, write_pictures

from compodiff.errors import InputInvalid
from compodiff.interchange.exporting import export_set
from compodiff.sets import PAIRS, TRIPLETS, Place, finish_set, open_set, open_shard
from compodiff.storage.atomic import write_json
from compodiff.storage.tables import write_table

MASK = np.packbits(np.arange(64 * 64) % 5 == 0).tobytes()


@pytest.fixture
def triplets(tmp_path):
    """Two shards of train, one of validation; pictures in files and in shards' own tars."""
    pictures = write_pictures(tmp_path / "pictures", {"r.jpg": RED, "n.png": draw("green", "PNG")})
    red, negative = (Place(name, str(pictures / name)) for name in ("r.jpg", "n.png"))
    folder = tmp_path / "set"
    for split, number in (("train", 0), ("train", 1), ("validation", 0)):
        with open_shard(folder, split, number, TRIPLETS) as shard:
            for row in range(3):
                first = row == 0
                shard.add(
                    {
                        "key": f"{split}/{number}.{row}",
                        "reference": red,
                        "target": shard.store_picture(f"t.{row}", BLUE + bytes(row)),
                        "reference_caption": "a red disc" if first else None,
                        "target_caption": "a blue disc" if first else None,
                        "relative_captions": ["make it blue", "Überall blau"] if first else ["blue"],
                        "relation": "colour" if first else None,
                        "keyword": "blue" if first else None,
                        "mask": MASK if first else None,
                        "negatives": [negative, red] if row == 1 else [],
                    }
                )
    finish_set(folder, TRIPLETS, licence="CC", source="drawn")
    return folder


@pytest.fixture
def pairs(tmp_path):
    folder = tmp_path / "pairs"
    with open_shard(folder, "train", 0, PAIRS) as shard:
        for number, picture in enumerate((RED, GREEN)):
            place = shard.store_picture(f"p.{number}", picture)
            shard.add({"key": f"k/{number}", "picture": place, "texts": ["one", "another"][: number + 1]})
    finish_set(folder, PAIRS, licence="CC", source="drawn")
    return folder


def look(training_set) -> list[dict]:
    """Rows with each picture's name and bytes in place of where it lies."""

    def shown(value):
        if isinstance(value, dict):
            return value["name"], see(training_set, value)
        return [shown(each) for each in value] if isinstance(value, list) else value

    return [{name: shown(value) for name, value in row.items()} for row in rows_of(training_set)]


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
@pytest.mark.parametrize("kind", ["triplets", "pairs"])
def test_what_was_exported_comes_back_as_it_was(request, tmp_path, kind, form):
    folder = request.getfixturevalue(kind)
    rows = look(open_set(folder))
    assert export_set(str(folder), form, tmp_path / "out") == len(rows)
    back, tally = bring(tmp_path / "out", form, tmp_path / "back")
    assert look(back) == rows
    assert tally.notes == {}


def test_exports_have_the_names_of_the_field(triplets, pairs, tmp_path):
    export_set(str(triplets), "webdataset", tmp_path / "tars")
    with tarfile.open(tmp_path / "tars" / "train-00000.tar") as tar:
        ends = [name.partition(".")[2] for name in tar.getnames() if name.startswith("train-00000-000001.")]
        assert ends == ["reference.jpg", "target.jpg", "mask.png", "json", "txt"]
        assert tar.extractfile("train-00000-000001.txt").read() == b"make it blue"
        assert tar.extractfile("train-00000-000002.negative_0.png").read() == draw("green", "PNG")
    export_set(str(pairs), "webdataset", tmp_path / "pair-tars")
    with tarfile.open(tmp_path / "pair-tars" / "train-00000.tar") as tar:
        assert [name.partition(".")[2] for name in tar.getnames()] == ["jpg", "json", "txt"] * 2
    export_set(str(triplets), "parquet", tmp_path / "tables")
    path = tmp_path / "tables" / "data" / "train-00000-of-00002.parquet"
    schema = pq.read_schema(path)
    assert schema.field("target_image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["reference_image"] == features["mask_image"] == {"_type": "Image"}
    first = pq.read_table(path).to_pylist()[0]
    assert first["reference_image"] == {"bytes": RED, "path": "reference_image.jpg"}


def test_only_what_validation_accepted_is_exported_where_it_is_named(triplets, tmp_path):
    rows = rows_of(open_set(triplets))
    shards = [shard.file for shard in open_set(triplets).description.shards for _ in range(shard.rows)]
    said = pd.DataFrame({"key": [row["key"] for row in rows], "shard": shards, "accepted": [True, False, True] * 3})
    (tmp_path / "validated").mkdir()
    write_table(tmp_path / "validated" / "rows.parquet", said)
    write_json(tmp_path / "validated" / "result.json", {"set": open_set(triplets).description.digest})
    assert export_set(str(triplets), "parquet", tmp_path / "out", tmp_path / "validated") == 6
    back, _ = bring(tmp_path / "out", "parquet", tmp_path / "back")
    assert [row["key"] for row in rows_of(back)] == [*said["key"][said["accepted"]]]
    write_json(tmp_path / "validated" / "result.json", {"set": "another"})
    with pytest.raises(InputInvalid, match=r"validated judges another set, or an earlier one, than .*; validate"):
        export_set(str(triplets), "parquet", tmp_path / "other", tmp_path / "validated")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"train/0\.0: .*r\.jpg is not there, .*; leave such rows out: --validated"),
        (b"<html>", r"train/0\.0: r\.jpg is no picture; leave such rows out: --validated"),
    ],
)
def test_a_picture_that_is_not_there_or_none_is_named_and_nothing_written(triplets, tmp_path, content, message):
    path = tmp_path / "pictures" / "r.jpg"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputInvalid, match=message):
        export_set(str(triplets), "webdataset", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_equal_sets_give_equal_exports_and_none_is_written_over(triplets, tmp_path):
    for name in ("first", "second"):
        export_set(str(triplets), "webdataset", tmp_path / name)
    read = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second")]
    assert read[0] == read[1]
    (tmp_path / "first" / "notes.txt").write_text("mine")
    with pytest.raises(InputInvalid, match=r"first holds 'notes.txt', which compodiff did not write"):
        export_set(str(triplets), "webdataset", tmp_path / "first")
    assert (tmp_path / "first" / "notes.txt").read_text() == "mine"
