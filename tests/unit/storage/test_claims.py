"""A work folder keeps what was made of the same inputs; what was made of others goes, and only that."""

import json
import os
from pathlib import Path

import pytest

from compodiff.errors import InputInvalid
from compodiff.storage import claims
from compodiff.storage.ownership import MARKER, is_marked


def write(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    for name in ("a.tar", "a.parquet"):
        path.with_name(name).write_text("made")
    return path


def claim(folder, fingerprint):
    claims.claim_folder(folder, fingerprint, "test shards", ("a.*",))


def test_a_claimed_folder_keeps_what_has_its_fingerprint(tmp_path, caplog):
    folder = tmp_path / "triplets"
    claim(folder, {"params": {"seed": 1}, "data": "a"})
    path = write(folder / "a.tar")
    claim(folder, {"params": {"seed": 1}, "data": "a"})
    assert path.read_text() == "made"
    caplog.set_level("INFO")
    claim(folder, {"params": {"seed": 2}, "data": "a"})
    assert sorted(os.listdir(folder)) == [MARKER, claims.FINGERPRINT]
    assert "was made with another params: starting afresh" in caplog.text


@pytest.mark.parametrize("fingerprint", [None, {"files": {}, "importer": {}}])
def test_what_other_work_left_is_neither_taken_over_nor_deleted(tmp_path, fingerprint):
    path = write(tmp_path / "triplets" / "a.tar")
    if fingerprint:
        (path.parent / claims.FINGERPRINT).write_text(json.dumps(fingerprint))
    with pytest.raises(InputInvalid, match=r"triplets holds .*; name another folder"):
        claim(path.parent, {"data": "a"})
    assert path.read_text() == "made"


def test_a_folder_of_release_0_1_is_taken_over_with_its_shards(tmp_path):
    """That release wrote a fingerprint and no marker."""
    path = write(tmp_path / "triplets" / "a.tar")
    (path.parent / claims.FINGERPRINT).write_text(json.dumps({"data": "a"}))
    claims.require_claimable(path.parent, "test shards")
    with pytest.raises(InputInvalid, match=r"holds 'a\.parquet', which compodiff did not write"):
        claim(tmp_path / "triplets", {"files": {}})
    claim(path.parent, {"data": "a"})
    assert is_marked(path.parent)
    assert path.read_text() == "made"
    claim(path.parent, {"data": "b"})
    assert sorted(os.listdir(path.parent)) == [MARKER, claims.FINGERPRINT]


def test_what_makes_a_folder_stale_is_named(tmp_path, caplog):
    folder = tmp_path / "triplets"
    caplog.set_level("INFO")
    claim(folder, {"a": 1, "b": 2, "c": 3})
    assert caplog.text == ""
    claim(folder, {"a": 1, "b": 3, "d": 4})
    assert "triplets was made with another b, c, d: starting afresh" in caplog.text
    assert json.loads((folder / claims.FINGERPRINT).read_text()) == {"a": 1, "b": 3, "d": 4}


def test_whether_a_folder_can_be_claimed_is_known_at_the_door(tmp_path):
    folder = tmp_path / "triplets"
    claims.require_claimable(folder, "test shards")
    claim(folder, {"data": "a"})
    claims.require_claimable(folder, "test shards")
    with pytest.raises(InputInvalid, match="is compodiff's test shards, not its other shards"):
        claims.require_claimable(folder, "other shards")
    (folder / "mine").touch()
    with pytest.raises(InputInvalid, match="holds 'mine', which compodiff did not write"):
        claims.require_claimable(folder, "test shards")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(InputInvalid, match=r"holds 'a\.jpg', which compodiff did not write"):
        claims.require_claimable(tmp_path / "photos", "test shards")


def test_an_empty_folder_is_claimed_and_a_damaged_fingerprint_named(tmp_path):
    (tmp_path / f".{claims.FINGERPRINT}.1.compodiff-partial").touch()  # of a kill
    claim(tmp_path, {"data": "a"})
    assert json.loads((tmp_path / claims.FINGERPRINT).read_text()) == {"data": "a"}
    (tmp_path / claims.FINGERPRINT).write_text("{")
    with pytest.raises(InputInvalid, match=r"fingerprint\.json is damaged .*; delete .* and run again"):
        claim(tmp_path, {"data": "a"})
