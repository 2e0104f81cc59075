"""Logs of JSON lines: nobody's file becomes one, and each is its owner's alone."""

from pathlib import Path

import pytest

from compodiff.errors import InputInvalid
from compodiff.serving import json_log
from compodiff.serving.json_log import open_json_log, write_event


@pytest.mark.parametrize("name", ["log", "log.1", "log.5"])  # the older ones are renamed, and the oldest goes
def test_a_file_of_somebody_becomes_no_log(tmp_path: Path, name: str) -> None:
    theirs = tmp_path / name
    theirs.write_text("encoder:\n")
    with pytest.raises(InputInvalid, match=rf"{theirs} is a file that compodiff did not write as a log; name another"):
        open_json_log("test", str(tmp_path / "log"))
    assert theirs.read_text() == "encoder:\n"
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_log_goes_on_where_it_ended_or_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    for place in range(2):
        write_event(open_json_log("test", str(path)), {"place": place})
    assert len(path.read_text().splitlines()) == 2


def test_every_file_of_a_log_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_log, "_FILE_BYTES", 100)
    log = open_json_log("test", str(tmp_path / "log"))
    for place in range(9):
        write_event(log, {"place": place})
    files = sorted(tmp_path.iterdir())
    assert len(files) > 2
    assert {each.stat().st_mode & 0o777 for each in files} == {0o600}
