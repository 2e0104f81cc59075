"""Whose a file or folder is: what is replaced and deleted, and what is refused and left as it was."""

import json
import os
from pathlib import Path

import pytest

from compodiff.errors import InputInvalid
from compodiff.storage import ownership
from compodiff.storage.ownership import MARKER, mark_folder, require_replaceable_folder

KIND = "index"


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("of hours")
    return folder


def test_a_folder_marked_as_it_is_may_be_replaced_and_names_each_file(tmp_path: Path) -> None:
    folder = fill(tmp_path / "ours", "b", "a/deep/file")
    assert not ownership.is_marked(folder)
    for _ in range(2):  # the marker does not name itself
        mark_folder(folder, KIND)
        marker = json.loads((folder / MARKER).read_text())
        assert marker == {"kind": KIND, "files": ["a", "a/deep", "a/deep/file", "b"]}
    assert ownership.is_marked(folder)
    assert ownership.read_marked_patterns(folder) == frozenset()
    require_replaceable_folder(folder, KIND)
    with pytest.raises(InputInvalid, match=r"ours is compodiff's index, not its report; name another folder"):
        require_replaceable_folder(folder, "report")


@pytest.mark.parametrize("name", ["c", "a/mine", "a/deep/file/", "b.bak", ".hidden"])
def test_one_thing_more_than_the_marker_names_is_refused(tmp_path: Path, name: str) -> None:
    folder = fill(tmp_path / "ours", "b", "a/deep/file")
    mark_folder(folder, KIND)
    if name.endswith("/"):
        (folder / "empty").mkdir()
    else:
        fill(folder, name)
    with pytest.raises(InputInvalid, match=r"ours holds '.*', which compodiff did not write; move it away"):
        require_replaceable_folder(folder, KIND)
    with pytest.raises(InputInvalid):
        ownership.delete_folder(folder, KIND)
    assert (folder / "b").exists()


@pytest.mark.parametrize(
    "name", [".DS_Store", "a/Thumbs.db", "desktop.ini", ".x.12.compodiff-partial", "a/.x.12.compodiff-partial"]
)
def test_what_file_managers_and_kills_leave_is_no_refusal(tmp_path: Path, name: str) -> None:
    folder = fill(tmp_path / "ours", "a/b")
    mark_folder(folder, KIND)
    fill(folder, name)
    ownership.delete_folder(folder, KIND)
    assert not folder.exists()
    ownership.delete_folder(folder, KIND)  # one that is not there is no error


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("train-0.tar", True),
        ("parts/one.bin", True),
        ("parts", True),
        ("logs/2026/day/hour", True),
        ("logs", True),
        ("done/deep/hour", True),  # what lies below a folder that a pattern names
        ("train-0.txt", False),
        ("parts/one.txt", False),
        ("parts/deep", False),
        ("other/one.bin", False),
    ],
)
def test_patterns_name_what_may_be_written_and_the_folders_above(tmp_path: Path, name: str, ours: bool) -> None:
    folder = tmp_path / "ours"
    folder.mkdir()
    mark_folder(folder, KIND, ["train-*.tar", "parts/*.bin", "logs/*", "done"])
    assert ownership.read_marked_patterns(folder) == {"train-*.tar", "parts/*.bin", "logs/*", "done"}
    fill(folder, name) if "." in name or "hour" in name else (folder / name).mkdir(parents=True)
    if ours:
        require_replaceable_folder(folder, KIND)
    else:
        with pytest.raises(InputInvalid, match="which compodiff did not write"):
            require_replaceable_folder(folder, KIND)


def test_a_folder_of_a_pattern_stands_at_its_own_depth_only(tmp_path: Path) -> None:
    folder = tmp_path / "ours"
    (folder / "one" / "two").mkdir(parents=True)
    mark_folder(folder, KIND, ["*/two/*.bin"])
    require_replaceable_folder(folder, KIND)
    (folder / "one" / "three" / "two").mkdir(parents=True)
    with pytest.raises(InputInvalid, match="holds 'one/three'"):
        require_replaceable_folder(folder, KIND)


def test_of_several_things_of_somebody_the_first_by_name_is_named(tmp_path: Path) -> None:
    folder = fill(tmp_path / "ours", *(f"{name}/mine.txt" for name in "cgadbfe"))
    mark_folder(folder, KIND, ["*/*.bin"])
    with pytest.raises(InputInvalid, match=r"holds 'a/mine\.txt'"):
        require_replaceable_folder(folder, KIND)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "1", '{"files": ["b"]}', '{"kind": 1, "files": ["b"]}', '{"kind": "index", "files": [1]}',
     '{"kind": "index", "patterns": 3}'],
)  # fmt: skip
def test_a_marker_that_this_program_would_not_write_is_none(tmp_path: Path, content: str) -> None:
    folder = fill(tmp_path / "theirs", "b")
    (folder / MARKER).write_text(content)
    assert not ownership.is_marked(folder)
    with pytest.raises(InputInvalid, match=r"holds '.compodiff.json', which compodiff did not write; name another"):
        require_replaceable_folder(folder, KIND)


def test_only_an_empty_folder_without_a_marker_may_be_filled(tmp_path: Path) -> None:
    require_replaceable_folder(tmp_path / "away", KIND)
    empty = tmp_path / "empty"
    empty.mkdir()
    require_replaceable_folder(empty, KIND)
    fill(empty, ".a.7.compodiff-partial")
    require_replaceable_folder(empty, KIND)
    fill(empty, "compodiff-partial")
    with pytest.raises(InputInvalid, match="holds 'compodiff-partial'"):
        require_replaceable_folder(empty, KIND)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputInvalid, match="dangling is a file; name a folder"):
        require_replaceable_folder(tmp_path / "dangling", KIND)


def test_a_mount_point_is_never_replaced(disk: Path) -> None:
    mark_folder(disk, KIND)
    with pytest.raises(InputInvalid, match="disk is a mount point, which cannot be replaced; name a folder in it"):
        require_replaceable_folder(disk, KIND)


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    theirs = fill(tmp_path / "theirs", "photo.jpg")
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "link").symlink_to(theirs)
    mark_folder(folder, KIND)
    ownership.delete_folder(folder, KIND)
    assert (theirs / "photo.jpg").exists()


EDGE = 2**16


@pytest.mark.parametrize(
    ("before", "after", "signed"),
    [
        (0, 0, True),
        (EDGE - 14, 3 * EDGE, True),
        (EDGE - 13, 3 * EDGE, False),
        (3 * EDGE, EDGE - 14, True),
        (3 * EDGE, EDGE - 13, False),
    ],
)
def test_a_file_is_known_by_the_words_at_one_of_its_ends(tmp_path: Path, before: int, after: int, signed: bool) -> None:
    path = tmp_path / "page.html"
    words = ownership.make_signature(ownership.PAGE).encode()
    assert words == b"compodiff:page"  # as in pages of earlier releases; all have to lie within 64 KiB of an end
    path.write_bytes(b"x" * before + words + b"y" * after)
    assert ownership.is_signed(path, "page") == signed
    assert not ownership.is_signed(path, "report")


def test_words_that_only_the_two_ends_together_make_are_none(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(b"x" * (EDGE - 9) + b"compodiff" + b":page" + b"y" * (EDGE - 5))
    assert not ownership.is_signed(path, "page")


def test_a_file_of_somebody_is_neither_replaced_nor_deleted(tmp_path: Path) -> None:
    letter, empty, ours, pipe = (tmp_path / name for name in ("letter", "empty", "ours", "pipe"))
    os.mkfifo(pipe)
    letter.write_text("dear")
    empty.touch()
    ours.write_text(f"<!-- {ownership.make_signature('page')} -->")
    for path in (None, tmp_path / "away", empty, ours):
        ownership.require_replaceable_file(path, "page")
    for place, fault in (
        (letter, "letter is a file that compodiff did not write as page; name another one, or remove it"),
        (tmp_path, "is a folder; name a file"),
        (pipe, "pipe is no regular file; name another one"),
    ):
        with pytest.raises(InputInvalid, match=fault):
            ownership.delete_file(place, "page")
    ownership.delete_file(ours, "page")
    ownership.delete_file(tmp_path / "away", "page")
    assert sorted(os.listdir(tmp_path)) == ["empty", "letter", "pipe"]


def test_what_is_written_must_not_hold_what_is_read(tmp_path: Path) -> None:
    photos = fill(tmp_path / "photos", "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path)
    for written in (photos, tmp_path, tmp_path / "link", tmp_path / "link" / "photos"):
        with pytest.raises(InputInvalid, match=r"holds what is read \(.*photos\); name another place to write to"):
            ownership.require_apart(written, tmp_path.parent / "elsewhere", photos)
    ownership.require_apart(photos / "index", photos)
    ownership.require_apart(tmp_path / "photos2", photos)


def test_inside_a_folder_of_ours_what_its_marker_names_is_deleted(tmp_path: Path) -> None:
    folder = fill(tmp_path / "ours", "shards/a.tar", "shards/b.tar", "report.json")
    theirs = fill(tmp_path / "theirs", "photo.jpg")
    (folder / "shards" / "link").symlink_to(theirs)
    mark_folder(folder, KIND)
    fill(folder, "shards/mine")
    ownership.delete_inside(folder / "report.json")
    ownership.delete_inside(folder / "report.json")  # one that is not there is no error
    ownership.delete_inside(folder / "shards" / "link")
    for path in (folder / "shards" / "mine", theirs / "photo.jpg"):
        with pytest.raises(InputInvalid, match=f"{path.name} is nothing that compodiff wrote; remove it yourself"):
            ownership.delete_inside(path)
    assert sorted(os.listdir(folder / "shards")) == ["a.tar", "b.tar", "mine"]
    (folder / "shards" / "mine").unlink()
    ownership.delete_inside(folder / "shards")
    assert os.listdir(folder) == [MARKER]
    assert os.listdir(theirs) == ["photo.jpg"]


def test_only_what_has_a_partial_name_is_deleted_as_partial(tmp_path: Path) -> None:
    path = tmp_path / "result"
    file, theirs = ownership.name_partial(path), fill(tmp_path / "theirs", "photo.jpg")
    assert file.name == f".result.{os.getpid()}.compodiff-partial"
    file.symlink_to(theirs)
    ownership.delete_partial(file)
    fill(file, "deep/half")
    assert ownership.find_partials(path) == [(file, os.getpid())]
    ownership.delete_partial(file)
    ownership.delete_partial(file)  # one that is not there is no error
    with pytest.raises(ValueError, match="theirs is no partial name"):
        ownership.delete_partial(theirs)
    assert os.listdir(tmp_path) == ["theirs"]
    assert os.listdir(theirs) == ["photo.jpg"]


def test_names_of_other_files_and_without_a_process_are_not_found(tmp_path: Path) -> None:
    path = tmp_path / "a"
    fill(tmp_path, ".a.5.compodiff-retired", ".a.12.compodiff-retired", ".a.7.compodiff-partial")
    fill(
        tmp_path,
        *(f"{name}-retired" for name in (".a.x.compodiff", ".b.3.compodiff", "..a.3.compodiff", "a.3.compodiff")),
    )
    assert [owner for _, owner in ownership.find_retired(path)] == [12, 5]
    assert [found.name for found, _ in ownership.find_retired(path)] == [
        ".a.12.compodiff-retired",
        ".a.5.compodiff-retired",
    ]
    assert ownership.find_partials(path) == [(tmp_path / ".a.7.compodiff-partial", 7)]
    assert ownership.find_partials(tmp_path / "away" / "a") == []


def test_a_retired_folder_goes_unless_somebody_put_something_into_it(tmp_path: Path) -> None:
    retired = fill(ownership.name_retired(tmp_path / "index"), "a")
    assert retired.name == f".index.{os.getpid()}.compodiff-retired"
    ownership.delete_retired(retired)
    assert retired.exists()  # nothing says whose it is
    mark_folder(retired, KIND)
    fill(retired, "mine")
    ownership.delete_retired(retired)
    assert (retired / "mine").exists()
    (retired / "mine").unlink()
    ownership.delete_retired(retired)
    ownership.delete_retired(retired)
    assert not retired.exists()
