import json
import os
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.storage import shards
from compodiff.storage.ownership import MARKER, is_marked

ENTRIES = {f"train-{number:08d}": {"reference.png": bytes([number]) * 700, "json": b"{}"} for number in range(5)}


def write(path: Path, entries=ENTRIES) -> Path:
    with shards.open_shard_writer(path) as shard:
        shard.record(pd.DataFrame({"key": list(entries), "score": np.arange(len(entries), dtype=np.float32)}))
        for key, files in entries.items():
            shard.add(key, files)
    return path


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
        st.dictionaries(st.sampled_from(["reference.png", "target.png", "json"]), st.binary(max_size=2000), min_size=1),
        max_size=5,
    )
)
@settings(max_examples=25, deadline=None)
def test_entries_come_back_as_they_were(tmp_path_factory, entries):
    path = write(tmp_path_factory.mktemp("shards") / "a.tar", entries)
    assert dict(shards.read_entries(path)) == entries
    assert shards.read_seal(path)["entries"] == len(entries)


def test_equal_entries_give_equal_bytes(tmp_path):
    first, second = write(tmp_path / "first.tar"), write(tmp_path / "second.tar")
    assert first.read_bytes() == second.read_bytes()
    assert shards.name_sidecar(first).read_bytes() == shards.name_sidecar(second).read_bytes()
    with tarfile.open(first) as tar:  # nor do they say when they were written, or by whom
        assert {(each.mtime, each.uname, each.gname) for each in tar} == {(0, "", "")}


def test_webdataset_reads_our_shards(tmp_path):
    from webdataset.tariterators import group_by_keys, tar_file_expander

    # What webdataset.WebDataset is made of; that class itself leaves its files open.
    with write(tmp_path / "a.tar").open("rb") as stream:
        read = list(group_by_keys(tar_file_expander([{"url": "a.tar", "stream": stream}])))
    assert [entry["__key__"] for entry in read] == list(ENTRIES)
    assert [entry["reference.png"] for entry in read] == [files["reference.png"] for files in ENTRIES.values()]


def test_a_shard_that_failed_half_way_is_not_there(tmp_path):
    def fails_half_way():
        with shards.open_shard_writer(tmp_path / "a.tar") as shard:
            shard.add("a", {"json": b"{}"})
            raise KeyError

    with pytest.raises(KeyError):
        fails_half_way()
    assert os.listdir(tmp_path) == []
    assert not shards.is_done(tmp_path / "a.tar")


def test_without_its_sidecar_a_shard_is_not_done(tmp_path):
    path = write(tmp_path / "a.tar")
    assert shards.is_done(path)
    shards.name_sidecar(path).unlink()
    assert not shards.is_done(path)
    with pytest.raises(InputInvalid, match=r"a\.parquet is not there; run: compodiff run synthesize"):
        next(shards.read_entries(path))


def test_a_shard_cut_short_is_named_and_made_again(tmp_path):
    path = write(tmp_path / "a.tar")
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    assert not shards.is_done(path)
    message = rf"a\.tar is cut short: 1000 of {len(whole)} bytes; delete it and run: compodiff run synthesize"
    with pytest.raises(InputInvalid, match=message):
        next(shards.read_entries(path))
    path.unlink()
    with pytest.raises(InputInvalid, match=r"a\.tar is missing"):
        next(shards.read_entries(path))


def test_a_damaged_shard_is_told_by_its_checksum(tmp_path):
    path = write(tmp_path / "a.tar")
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputInvalid, match=r"a\.tar is damaged: sha256 [0-9a-f]{12}, not [0-9a-f]{12}; delete it"):
        next(shards.read_entries(path))


def test_a_sidecar_cut_short_is_no_sidecar(tmp_path):
    path = write(tmp_path / "a.tar")
    sidecar = shards.name_sidecar(path)
    sidecar.write_bytes(sidecar.read_bytes()[:-10])
    assert not shards.is_done(path)
    with pytest.raises(InputInvalid, match=r"a\.parquet is cut short or not parquet"):
        shards.read_seal(path)
    shards.write_table(sidecar, pd.DataFrame({"key": ["a"]}))
    with pytest.raises(InputInvalid, match="is no sidecar of a shard"):
        shards.read_seal(path)


def test_sidecars_merge_in_the_order_given(tmp_path):
    paths = [write(tmp_path / name) for name in ("b.tar", "a.tar")]
    with shards.open_merged_table(tmp_path / "manifest.parquet") as manifest:
        added = [manifest.add(path) for path in paths]
    merged = shards.read_table(tmp_path / "manifest.parquet")
    assert merged["score"].dtype == np.float32
    assert list(merged["key"]) == [*ENTRIES, *ENTRIES]
    pd.testing.assert_frame_equal(merged, pd.concat(added, ignore_index=True))


def test_a_manifest_of_many_groups_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_ROWS_PER_GROUP", 3)
    paths = [write(tmp_path / f"{name}.tar") for name in "abcde"]
    with shards.open_merged_table(tmp_path / "manifest.parquet") as manifest:
        rows = pd.concat([manifest.add(path) for path in paths], ignore_index=True)
    pd.testing.assert_frame_equal(rows, shards.read_table(tmp_path / "manifest.parquet"))


def test_a_manifest_of_nothing_is_refused(tmp_path):
    with (
        pytest.raises(InputInvalid, match="there is nothing to make triplets of"),
        shards.open_merged_table(tmp_path / "none"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_shard_of_which_nothing_was_kept_adds_nothing_to_a_manifest(tmp_path):
    """Its sidecar has no columns, so that it would not fit the others."""
    empty, full = write(tmp_path / "a.tar", {}), write(tmp_path / "b.tar")
    with shards.open_shard_writer(tmp_path / "c.tar"):
        pass
    with shards.open_merged_table(tmp_path / "manifest.parquet") as manifest:
        counts = [len(manifest.add(path)) for path in (empty, tmp_path / "c.tar", full, empty)]
    assert counts == [0, 0, 5, 0]
    assert list(shards.read_table(tmp_path / "manifest.parquet")["key"]) == list(ENTRIES)
    assert dict(shards.read_entries(tmp_path / "c.tar")) == {}


def test_a_manifest_holds_few_rows_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_ROWS_PER_GROUP", 10)
    paths = [write(tmp_path / f"{name}.tar") for name in "abcde"]
    with shards.open_merged_table(tmp_path / "manifest.parquet") as manifest:
        for path in paths:
            manifest.add(path)
    groups = pq.ParquetFile(tmp_path / "manifest.parquet").metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [10, 10, 5]
    assert b"compodiff" not in groups.metadata  # the seal of one shard is not the manifest's
    assert b"pandas" in groups.metadata


def test_equal_rows_and_metadata_give_equal_bytes_whatever_their_index_and_order(tmp_path):
    rows = pd.DataFrame({"key": ["a", "b"]}, index=[7, 3])
    shards.write_table(tmp_path / "a.parquet", rows, metadata={"b": 1, "a": 2})
    shards.write_table(tmp_path / "b.parquet", rows.reset_index(drop=True), metadata={"a": 2, "b": 1})
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert list(shards.read_table(tmp_path / "a.parquet").columns) == ["key"]


def test_a_missing_table_names_its_remedy(tmp_path):
    with pytest.raises(InputInvalid, match=r"none\.parquet is not there; run: make cake"):
        shards.read_table(tmp_path / "none.parquet", remedy="run: make cake")
    with pytest.raises(InputInvalid, match=r"none\.parquet is not there; run: dvc repro$"):
        shards.read_table(tmp_path / "none.parquet")


def claim(folder, fingerprint):
    shards.claim_folder(folder, fingerprint, "test shards", ("a.*",))


def test_a_claimed_folder_keeps_what_has_its_fingerprint(tmp_path, caplog):
    folder = tmp_path / "triplets"
    claim(folder, {"params": {"seed": 1}, "data": "a"})
    path = write(folder / "a.tar")
    claim(folder, {"params": {"seed": 1}, "data": "a"})
    assert shards.is_done(path)
    caplog.set_level("INFO")
    claim(folder, {"params": {"seed": 2}, "data": "a"})
    assert sorted(os.listdir(folder)) == [MARKER, shards.FINGERPRINT]
    assert "was made with another params: starting afresh" in caplog.text


@pytest.mark.parametrize("fingerprint", [None, {"files": {}, "importer": {}}])
def test_what_other_work_left_is_neither_taken_over_nor_deleted(tmp_path, fingerprint):
    path = write(tmp_path / "triplets" / "a.tar")
    if fingerprint:
        (path.parent / shards.FINGERPRINT).write_text(json.dumps(fingerprint))
    with pytest.raises(InputInvalid, match=r"triplets holds .*; name another folder"):
        claim(path.parent, {"data": "a"})
    assert shards.is_done(path)


def test_a_folder_of_release_0_1_is_taken_over_with_its_shards(tmp_path):
    """That release wrote a fingerprint and no marker."""
    path = write(tmp_path / "triplets" / "a.tar")
    (path.parent / shards.FINGERPRINT).write_text(json.dumps({"data": "a"}))
    shards.require_claimable(path.parent, "test shards")
    with pytest.raises(InputInvalid, match=r"holds 'a\.parquet', which compodiff did not write"):
        claim(tmp_path / "triplets", {"files": {}})
    claim(path.parent, {"data": "a"})
    assert is_marked(path.parent)
    assert shards.is_done(path)
    claim(path.parent, {"data": "b"})
    assert sorted(os.listdir(path.parent)) == [MARKER, shards.FINGERPRINT]


def test_a_folder_of_triplets_holds_what_its_stages_write_and_nothing_else(tmp_path):
    shards.claim_folder(tmp_path, {"data": "a"}, "triplets", shards.OF_TRIPLETS)
    numbered = [f"{split}-00001.{suffix}" for split in ("train", "validation") for suffix in ("tar", "parquet")]
    for name in (*numbered, "manifest.parquet", "pictures.parquet", "report.json", "source.json"):
        (tmp_path / name).touch()
    shards.require_claimable(tmp_path, "triplets")
    (tmp_path / "test-00001.tar").touch()
    with pytest.raises(InputInvalid, match=r"holds 'test-00001\.tar', which compodiff did not write"):
        shards.require_claimable(tmp_path, "triplets")


def test_what_makes_a_folder_stale_is_named(tmp_path, caplog):
    folder = tmp_path / "triplets"
    caplog.set_level("INFO")
    claim(folder, {"a": 1, "b": 2, "c": 3})
    assert caplog.text == ""
    claim(folder, {"a": 1, "b": 3, "d": 4})
    assert "triplets was made with another b, c, d: starting afresh" in caplog.text
    assert json.loads((folder / shards.FINGERPRINT).read_text()) == {"a": 1, "b": 3, "d": 4}


def test_whether_a_folder_can_be_claimed_is_known_at_the_door(tmp_path):
    folder = tmp_path / "triplets"
    shards.require_claimable(folder, "test shards")
    claim(folder, {"data": "a"})
    shards.require_claimable(folder, "test shards")
    with pytest.raises(InputInvalid, match="is compodiff's test shards, not its other shards"):
        shards.require_claimable(folder, "other shards")
    (folder / "mine").touch()
    with pytest.raises(InputInvalid, match="holds 'mine', which compodiff did not write"):
        shards.require_claimable(folder, "test shards")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(InputInvalid, match=r"holds 'a\.jpg', which compodiff did not write"):
        shards.require_claimable(tmp_path / "photos", "test shards")


def test_an_empty_folder_is_claimed_and_a_damaged_fingerprint_named(tmp_path):
    (tmp_path / f".{shards.FINGERPRINT}.1.compodiff-partial").touch()  # of a kill
    claim(tmp_path, {"data": "a"})
    assert json.loads((tmp_path / shards.FINGERPRINT).read_text()) == {"data": "a"}
    (tmp_path / shards.FINGERPRINT).write_text("{")
    with pytest.raises(InputInvalid, match=r"fingerprint\.json is damaged .*; delete .* and run again"):
        claim(tmp_path, {"data": "a"})


@pytest.fixture
def tiny_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system can be mounted by root only")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_said_and_the_next_run_continues(tiny_disk):
    done = write(tiny_disk / "a.tar")
    big = {key: {"reference.png": os.urandom(30_000)} for key in ENTRIES}
    with pytest.raises(ResourceUnavailable, match=r"no space left on the disk while writing .*b\.tar; free some"):
        write(tiny_disk / "b.tar", big)
    assert sorted(os.listdir(tiny_disk)) == ["a.parquet", "a.tar"]
    assert shards.is_done(done)
    assert shards.is_done(write(tiny_disk / "b.tar"))


def test_other_faults_of_the_disk_are_not_called_a_full_one(tmp_path):
    tmp_path.joinpath("a.tar").mkdir()
    with pytest.raises(InputInvalid, match=r"a\.tar is a folder; name a file"):
        write(tmp_path / "a.tar")
