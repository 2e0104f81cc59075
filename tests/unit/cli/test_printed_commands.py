"""A command that a message prints can be pasted into a shell, also where a folder has a space in its name."""

import shlex
from pathlib import Path

import pytest
from worlds.key_pairs import make_key_pair

from compodiff.cli.index import _tell_changes
from compodiff.errors import CheckpointMismatch
from compodiff.signing.chain import require_intact
from compodiff.signing.keys import TRUSTED


def test_an_index_is_brought_up_to_date_by_its_folders(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"folders": ["/my pictures", "/b"], "columns": {}, "added": ["x"], "changed": [], "removed": []}
    said |= {"left_out": {}, "unchanged": 0}
    _tell_changes(said, ["--out", "/my index"])
    command = capsys.readouterr().out.rpartition("bring it up to date: ")[2]
    assert shlex.split(command) == ["compodiff", "index", "build", "/my pictures", "/b", "--out", "/my index"]


def test_an_unsigned_folder_is_signed_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my model").mkdir()
    _, public = make_key_pair(tmp_path, "ours")
    monkeypatch.setenv(TRUSTED, str(public))
    with pytest.raises(CheckpointMismatch) as caught:
        require_intact(tmp_path / "my model")
    command = str(caught.value).rpartition("sign it: ")[2]
    assert shlex.split(command) == ["compodiff", "sign", str(tmp_path / "my model")]
