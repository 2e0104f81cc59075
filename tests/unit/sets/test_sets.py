"""A set: written whole or not at all, read back by shard, its pictures where they lie; here or at an address."""

import json
from pathlib import Path
from typing import Any

import pytest
import s3fs

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.sets import (
    PAIRS,
    TRIPLETS,
    Place,
    PlaceReader,
    ShardWriter,
    finish_set,
    is_shard_done,
    open_set,
    open_shard,
)
from compodiff.sets.addresses import join_address
from compodiff.sets.writing import shard_path

PICTURES = {"red": b"the bytes of red", "blue": b"blue, longer", "empty": b""}


def add_pair(shard: ShardWriter, key: str, name: str = "red") -> None:
    shard.add({"key": key, "picture": shard.store_picture(name, PICTURES[name]), "texts": [name, f"a {name} one"]})


def add_triplet(shard: ShardWriter, key: str, **changes: Any) -> None:
    row = {
        "key": key,
        "reference": shard.store_picture("red", PICTURES["red"]),
        "target": shard.store_picture("blue", PICTURES["blue"]),
        "reference_caption": "red",
        "target_caption": None,
        "relative_captions": ["make it blue"],
        "relation": "colour",
        "keyword": "blue",
        "mask": bytes(512),
        "negatives": [],
    }
    shard.add(row | changes)


def write_pairs(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, keys in enumerate((("a", "b"), ("c",))):
        with open_shard(folder, "train", number, PAIRS) as shard:
            for key in keys:
                add_pair(shard, key)
                add_pair(shard, f"{key}2", "blue")
    with open_shard(folder, "validation", 0, PAIRS) as shard:
        add_pair(shard, "d", "blue")
    finish_set(folder, PAIRS, licence="CC0", source="this test")
    return folder


def test_rows_and_pictures_come_back(tmp_path: Path) -> None:
    own = open_set(write_pairs(tmp_path / "pairs"))
    assert own.description.rows == {"train": 6, "validation": 1}
    assert [row["key"] for row in own.iterate_rows()] == ["a", "a2", "b", "b2", "c", "c2", "d"]
    for row in own.iterate_rows():
        name = row["picture"]["name"]
        assert own.places.read(Place.of(row["picture"])) == PICTURES[name]
        assert row["texts"] == [name, f"a {name} one"]
    tar = (tmp_path / "pairs" / "train-00000.tar").read_bytes()
    assert tar.count(PICTURES["red"]) == 1, "a picture of several rows is stored once"


def test_triplets_keep_what_is_known_and_what_is_not(tmp_path: Path) -> None:
    wrong = [Place("green", "elsewhere/green.jpg"), Place("grey", "some.tar", 512, 10)]
    with open_shard(tmp_path, "train", 0, TRIPLETS) as shard:
        add_triplet(shard, "one")
        add_triplet(shard, "two", mask=None, negatives=wrong, relative_captions=["make it blue", "in blue"])
    finish_set(tmp_path, TRIPLETS, licence="", source="", notes={"unsafe": 3})
    one, two = open_set(tmp_path).iterate_rows()
    assert (one["target_caption"], one["mask"], one["negatives"]) == (None, bytes(512), [])
    assert (two["mask"], [Place.of(place) for place in two["negatives"]]) == (None, wrong)
    assert two["relative_captions"] == ["make it blue", "in blue"]
    assert open_set(tmp_path / "set.json").description.notes == {"unsafe": 3}


def test_the_same_rows_have_the_same_bytes(tmp_path: Path) -> None:
    one, two = write_pairs(tmp_path / "one"), write_pairs(tmp_path / "two")
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {
        path.name: path.read_bytes() for path in two.iterdir()
    }


def test_a_shard_that_breaks_off_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyError), open_shard(tmp_path, "train", 0, PAIRS) as shard:
        add_pair(shard, "a", "a picture that is not there")
    assert list(tmp_path.iterdir()) == []
    assert not is_shard_done(shard_path(tmp_path, "train", 0))


def test_a_set_without_rows_is_refused(tmp_path: Path) -> None:
    with open_shard(tmp_path, "train", 0, PAIRS):
        pass
    with pytest.raises(InputInvalid, match="would have no row"):
        finish_set(tmp_path, PAIRS, licence="", source="")
    assert not (tmp_path / "set.json").exists()


def test_a_shard_that_changed_under_its_seal_is_refused(tmp_path: Path) -> None:
    own = open_set(write_pairs(tmp_path))
    with open_shard(tmp_path, "train", 1, PAIRS) as shard:
        add_pair(shard, "another")
    with pytest.raises(InputInvalid, match=r"train-00001.parquet is not the shard that set.json seals"):
        list(own.iterate_rows())
    (tmp_path / "train-00001.parquet").unlink()
    with pytest.raises(
        InputInvalid, match=r"train-00001.parquet is not there, or is no file; make the set again, or name w"
    ):
        list(own.iterate_rows())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "quads"}, "of the kind 'quads', not pairs or triplets"),
        ({"shards": [{"file": "a", "split": "test", "rows": 1, "sha256": ""}]}, "has the split 'test'"),
        ({"digest": None, "shards": 3}, "describes no set"),
    ],
)
def test_a_description_of_something_else_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_pairs(tmp_path) / "set.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputInvalid, match=message):
        open_set(tmp_path)
    path.write_text("{")
    with pytest.raises(InputInvalid, match="is damaged"):
        open_set(tmp_path)
    path.unlink()
    with pytest.raises(InputInvalid, match=r"set.json is not there"):
        open_set(tmp_path)


def test_pictures_are_read_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(b"whole")
    (tmp_path / "many.tar").write_bytes(b"....part....")
    reader = PlaceReader(str(tmp_path / "set"))
    assert reader.read(Place("a", "../pictures/a.jpg")) == b"whole"
    assert reader.read(Place("a", str(tmp_path / "pictures" / "a.jpg"))) == b"whole"
    assert reader.read(Place("b", "../many.tar", 4, 4)) == b"part"
    with pytest.raises(InputInvalid, match="is cut short: b needs 40 bytes at 4"):
        reader.read(Place("b", "../many.tar", 4, 40))
    for missing in (Place("c", "../gone.tar", 0, 4), Place("c", "../gone.jpg")):
        with pytest.raises(InputInvalid, match="is not there, or is no file"):
            reader.read(missing)


def test_many_files_are_read_with_few_of_them_open(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}.tar").write_bytes(b"%03d" % number)
    reader = PlaceReader(str(tmp_path))
    for number in (*range(300), *range(0, 300, 7)):
        assert reader.read(Place("", f"{number}.tar", 0, 3)) == b"%03d" % number


def test_names_are_joined_as_paths_or_as_addresses() -> None:
    assert join_address("/data/set", "../tars/0.tar") == "/data/tars/0.tar"
    assert join_address("s3://bucket/set/", "0.tar") == "s3://bucket/set/0.tar"
    assert join_address("s3://bucket/set", "/here/0.tar") == "/here/0.tar"
    assert join_address("/data/set", "s3://bucket/0.tar") == "s3://bucket/0.tar"


def test_a_set_is_read_at_an_address_and_yesterdays_object_in_it_is_refused(tmp_path: Path, bucket: Any) -> None:
    for path in write_pairs(tmp_path).iterdir():
        bucket.upload_file(str(path), "sets", f"mine/{path.name}")
    own = open_set("s3://sets/mine/set.json")
    here = open_set(tmp_path)
    assert list(own.iterate_rows()) == list(here.iterate_rows())
    row = next(own.iterate_rows())
    assert own.places.read(Place.of(row["picture"])) == PICTURES["red"]
    with pytest.raises(InputInvalid, match=r"nothing is at s3://sets/yours/set.json"):
        open_set("s3://sets/yours")
    yesterdays = shard_path(tmp_path, "train", 1).read_bytes()
    with open_shard(tmp_path, "train", 1, PAIRS) as shard:
        add_pair(shard, "today")
    finish_set(tmp_path, PAIRS, licence="CC0", source="this test, a day later")
    for path in tmp_path.iterdir():
        bucket.upload_file(str(path), "sets", f"mine/{path.name}")
    bucket.put_object(Bucket="sets", Key="mine/train-00001.parquet", Body=yesterdays)
    with pytest.raises(InputInvalid, match=r"s3://sets/mine/train-00001.parquet is not the shard that set.json seals"):
        list(open_set("s3://sets/mine").iterate_rows())


def test_an_address_that_cannot_be_opened_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputInvalid, match=r"nowhere://set/set.json cannot be opened: .*nowhere"):
        open_set("nowhere://set")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ResourceUnavailable, match=r"s3://sets/mine/set.json cannot be read: .*check the network"):
        open_set("s3://sets/mine")
