"""What the system refuses is said with its way out, and content is on the disk before its name is."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.storage.atomic import replace_folder, replace_path
from compodiff.storage.ownership import MARKER


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (
            errno.EDQUOT,
            ResourceUnavailable,
            r"no space left on the disk while writing .*a\.bin; free some and run again$",
        ),
        (errno.EACCES, ResourceUnavailable, r"a\.bin cannot be written .*; name another place or change its rights$"),
        (errno.EBUSY, ResourceUnavailable, r"a\.bin cannot be written .*; name another place or change its rights$"),
        (errno.ELOOP, InputInvalid, r"a\.bin cannot be written .*; name another place$"),
        (errno.EIO, OSError, "Input/output error"),
    ],
)
def test_a_fault_says_its_way_out(tmp_path, number, error, message):
    with pytest.raises(error, match=message), replace_path(tmp_path / "a.bin"):
        raise OSError(number, os.strerror(number), str(tmp_path))


@pytest.mark.parametrize("about", [None, 3, b"/elsewhere", "/elsewhere/b.bin", "a", Path("/a.bin.old")])
def test_a_fault_of_another_place_is_not_said_of_this_one(tmp_path, about):
    with pytest.raises(PermissionError), replace_path(tmp_path / "a.bin"):
        raise PermissionError(errno.EACCES, "Permission denied", about)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_content_is_synced_before_it_is_renamed_and_the_name_after(tmp_path, monkeypatch, kind):
    path, synced = tmp_path / "deep" / "er" / "a", []
    sync = os.fsync

    def watch(descriptor: int) -> None:
        synced.append((descriptor, os.fstat(descriptor).st_ino, path.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    if kind == "file":
        with replace_path(path) as temporary:
            temporary.write_text("new")
        content = [path]
    else:
        with replace_folder(path, "thing") as temporary:
            (temporary / "inner").mkdir()
            for name in ("b", "inner/c"):
                (temporary / name).write_text("new")
        content = [path / name for name in (MARKER, "b", "inner/c")]
    *before, after = [(inode, is_there) for _, inode, is_there in synced]
    assert before == [(each.stat().st_ino, False) for each in content]
    assert after == (path.parent.stat().st_ino, True)
    for descriptor, *_ in synced:
        with pytest.raises(OSError, match="Bad file descriptor"):  # it was closed
            os.fstat(descriptor)


def test_a_file_system_that_syncs_no_folders_is_written_to_and_one_that_syncs_no_files_is_not(tmp_path, monkeypatch):
    """SMB says EINVAL of a folder."""

    def refuse(descriptor: int, kind: Callable[[int], bool]) -> None:
        if kind(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", lambda descriptor: refuse(descriptor, stat.S_ISDIR))
    with replace_path(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a").read_text() == "new"
    monkeypatch.setattr(os, "fsync", lambda descriptor: refuse(descriptor, stat.S_ISREG))
    with pytest.raises(OSError, match="Invalid argument"), replace_path(tmp_path / "a") as temporary:
        temporary.write_text("newer")


def test_errors_that_say_their_way_out_pass_as_they_are(tmp_path):
    message = "b.parquet is damaged (No space left on device); delete it"
    with pytest.raises(InputInvalid, match=r"^b\.parquet is damaged"), replace_path(tmp_path / "a"):
        raise InputInvalid(message)
