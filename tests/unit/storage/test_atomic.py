import errno
import json
import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.storage.atomic import replace_folder, replace_path, write_json
from compodiff.storage.ownership import mark_folder


def test_a_file_is_whole_or_the_old_one(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with replace_path(path) as temporary:
        temporary.write_text("old")

    def fails_half_way():
        with replace_path(path) as temporary:
            temporary.write_text("ne")
            raise KeyError

    with pytest.raises(KeyError):
        fails_half_way()
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_folder_is_whole_or_the_old_one(tmp_path):
    path = tmp_path / "folder"
    for content in ("old", "new"):
        with replace_folder(path, "thing") as temporary:
            (temporary / "a").write_text(content)

    def fails_half_way():
        with replace_folder(path, "thing") as temporary:
            (temporary / "b").write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fails_half_way()
    assert (path / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["folder"]


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path):
    def fills_the_disk():
        with replace_path(tmp_path / "a.bin") as temporary:
            temporary.write_bytes(b"x")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ResourceUnavailable, match=r"no space left on the disk while writing .*a\.bin"):
        fills_the_disk()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError("991232 requested and 1984 written"),  # NumPy's
        RuntimeError("I/O error: No space left on device (os error 28)"),  # safetensors'
    ],
)
def test_a_full_disk_is_said_however_a_library_words_it(tmp_path, error):
    with (
        pytest.raises(ResourceUnavailable, match=r"no space left on the disk while writing .*a\.bin"),
        replace_path(tmp_path / "a.bin"),
    ):
        raise error


def test_a_place_that_cannot_be_written_is_named_and_left_as_it_was(tmp_path):
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("mine")
    folder.mkdir()
    (folder / "mine").touch()
    for write, place, fault in (
        (replace_path, folder, "folder is a folder; name a file"),
        (partial(replace_folder, kind="thing"), file, "file is a file; name a folder"),
        (
            replace_path,
            file / "a.txt",
            r"a\.txt cannot be written \((Not a directory|File exists)\); name another place",
        ),
        (
            partial(replace_folder, kind="thing"),
            file / "deep" / "a",
            r"a cannot be written \((Not a directory|File exists)\)",
        ),
        (replace_path, tmp_path / ("x" * 300), r"cannot be written \(File name too long\); name another place"),
    ):
        with pytest.raises(InputInvalid, match=fault), write(place) as temporary:
            temporary.write_text("new")
    assert file.read_text() == "mine"
    assert [path.name for path in folder.iterdir()] == ["mine"]
    assert len(list(tmp_path.iterdir())) == 2


def test_errors_about_other_files_are_left_as_they_are(tmp_path):
    (tmp_path / "b").touch()
    with pytest.raises(NotADirectoryError), replace_path(tmp_path / "a.txt"):
        (tmp_path / "b" / "c").read_text()
    with pytest.raises(PermissionError), replace_path(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/read")


def test_a_read_only_place_is_said(tmp_path):
    with (
        pytest.raises(
            ResourceUnavailable, match=r"a cannot be written \(Read-only file system\); name another place or"
        ),
        replace_path(tmp_path / "a") as temporary,
    ):
        raise OSError(errno.EROFS, "Read-only file system", str(temporary))


def test_a_kill_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    script = (
        "import sys, time, pathlib\n"
        "from compodiff.storage.atomic import replace_path\n"
        "with replace_path(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('{'); print('half', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    assert json.loads(path.read_text()) == {"old": 1}
    assert len(os.listdir(tmp_path)) == 2
    write_json(path, {"new": 2})
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_killed_between_its_two_renames_comes_back(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    retired = tmp_path / f".folder.{dead.pid}.compodiff-retired"
    retired.mkdir()
    (retired / "a").write_text("old")
    mark_folder(retired, "thing")

    def fails_at_once():
        with replace_folder(tmp_path / "folder", "thing"):
            raise KeyError

    with pytest.raises(KeyError):
        fails_at_once()
    assert (tmp_path / "folder" / "a").read_text() == "old"


def test_json_refuses_what_is_not_a_number(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []
