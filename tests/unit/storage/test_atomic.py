import errno
import json
import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.storage import atomic
from compodiff.storage.atomic import open_work_folder, replace_folder, replace_path, write_json
from compodiff.storage.ownership import MARKER, make_signature, mark_folder, read_marked_patterns


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


def test_json_is_sorted_and_indented_and_says_who_wrote_it_where_a_person_chose_its_place(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": [1], "a": "é"})
    assert path.read_text() == '{\n  "a": "\\u00e9",\n  "b": [\n    1\n  ]\n}\n'
    with pytest.raises(InputInvalid, match=r"a\.json is a file that compodiff did not write as report; name another"):
        write_json(path, {}, "report")
    path.unlink()
    for value in (1, 2):
        write_json(path, {"a": value}, "report")
    assert json.loads(path.read_text()) == {"a": 2, "written_by": make_signature("report")}


def test_a_file_of_a_kind_without_its_signature_is_a_bug_and_the_old_one_stays(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(make_signature("page"))
    with (
        pytest.raises(AssertionError, match=r"page\.html was written without its signature, compodiff:page"),
        replace_path(path, "page") as temporary,
    ):
        temporary.write_text("new")
    assert path.read_text() == make_signature("page")
    assert os.listdir(tmp_path) == ["page.html"]


@pytest.mark.parametrize("write", [replace_path, partial(replace_folder, kind="thing")], ids=["file", "folder"])
def test_what_a_living_process_writes_is_left_and_what_a_dead_one_wrote_goes(tmp_path, write):
    dead = subprocess.Popen(["true"])
    dead.wait()
    for process in (1, dead.pid, os.getpid()):  # this process's number may have been another's
        (tmp_path / f".a.{process}.compodiff-partial").mkdir()
    with write(tmp_path / "a") as temporary:
        if temporary.is_dir():
            (temporary / "content").touch()
        else:
            temporary.touch()
    assert sorted(os.listdir(tmp_path)) == [".a.1.compodiff-partial", "a"]


def test_a_retired_folder_goes_once_the_new_one_is_there_unless_its_process_lives(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    for folder in ("a", ".a.1.compodiff-retired", f".a.{dead.pid}.compodiff-retired"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "content").write_text(folder)
        mark_folder(tmp_path / folder, "thing")
    with replace_folder(tmp_path / "a", "thing") as temporary:
        assert (tmp_path / "a" / "content").read_text() == "a"
        (temporary / "content").write_text("new")
    assert sorted(os.listdir(tmp_path)) == [".a.1.compodiff-retired", "a"]
    assert (tmp_path / "a" / "content").read_text() == "new"
    assert json.loads((tmp_path / "a" / MARKER).read_text()) == {"kind": "thing", "files": ["content"]}


def test_the_earlier_folder_comes_back_where_the_new_one_cannot_take_its_place(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "content").write_text("old")
    with pytest.raises(FileNotFoundError):
        atomic._put_in_place(tmp_path / "never written", tmp_path / "a")
    assert (tmp_path / "a" / "content").read_text() == "old"
    with pytest.raises(FileNotFoundError):
        atomic._put_in_place(tmp_path / "never written", tmp_path / "b")
    assert os.listdir(tmp_path) == ["a"]


def test_what_somebody_put_into_a_folder_while_it_was_made_anew_is_kept(tmp_path):
    path = tmp_path / "a"
    with replace_folder(path, "thing") as temporary:
        (temporary / "content").write_text("old")

    def is_disturbed():
        with replace_folder(path, "thing") as temporary:
            (temporary / "content").write_text("new")
            (path / "mine").touch()

    with pytest.raises(InputInvalid, match="a holds 'mine', which compodiff did not write"):
        is_disturbed()
    assert sorted(os.listdir(path)) == [MARKER, "content", "mine"]
    assert (path / "content").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_links_are_followed(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("file", "folder", "work"):
        (tmp_path / name).symlink_to(tmp_path / "there" / name)
    with replace_path(tmp_path / "file") as temporary:
        temporary.write_text("new")
    with replace_folder(tmp_path / "folder", "thing") as temporary:
        (temporary / "content").write_text("new")
    assert open_work_folder(tmp_path / "work", "thing", ["*.bin"]) == tmp_path / "there" / "work"
    assert all((tmp_path / name).is_symlink() for name in ("file", "folder", "work"))
    assert sorted(os.listdir(tmp_path / "there")) == ["file", "folder", "work"]


def test_a_work_folder_is_taken_up_and_takes_further_names(tmp_path):
    folder = open_work_folder(tmp_path / "deep" / "work", "thing", ["*.bin", "*.json"])
    (folder / "1.bin").touch()
    marked = (folder / MARKER).stat().st_mtime_ns
    open_work_folder(folder, "thing", ["*.bin"])
    assert (folder / MARKER).stat().st_mtime_ns == marked
    open_work_folder(folder, "thing", ["*.txt"])
    assert read_marked_patterns(folder) == {"*.bin", "*.json", "*.txt"}
    (folder / "mine.jpg").touch()
    for kind in ("thing", "other"):
        with pytest.raises(InputInvalid):
            open_work_folder(folder, kind, ["*.jpg"])
    assert sorted(os.listdir(folder)) == [MARKER, "1.bin", "mine.jpg"]
    (tmp_path / "file").touch()
    with pytest.raises(InputInvalid, match=r"work cannot be written \(.*\); name another place"):
        open_work_folder(tmp_path / "file" / "work", "thing", [])
