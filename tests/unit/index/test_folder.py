import os
import shutil

import numpy as np
import pytest
from factories import draw_noise, make_index_params
from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.images import PictureTable, kinds, list_pictures
from compodiff.index import INSIDE
from compodiff.index import encoded as parts_module
from compodiff.index.comparing import compare_folder, list_not_held
from compodiff.index.folder import BuildPlan, build_folder_index, remove_from_index
from compodiff.index.index import Index
from compodiff.index.manifest import MANIFEST
from compodiff.index.previous import make_stamp

FLAT = make_index_params()


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures of noise in two folders."""
    for number in range(12):
        path = tmp_path / "album" / ("new" if number % 3 else ".") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_noise(number, 30, 20).save(path)
    return tmp_path / "album"


def _build(folder, encoder, *, out=None, files=None, **how):
    todo = BuildPlan(files or list_pictures(folder).files, **how)
    return build_folder_index(folder, out or folder / INSIDE, encoder, FLAT, todo)


def test_the_index_holds_what_the_encoder_makes_of_each_file(folder, encoder):
    built = _build(folder, encoder)
    index = Index.load(built.index)
    assert (built.pictures, built.encoded, built.unreadable) == (12, 12, {})
    assert index.picture_ids == [path.relative_to(folder).as_posix() for path in list_pictures(folder).files]
    pictures = PictureTable(index.folder / index.manifest.pictures_root, index.pictures)
    for picture_id in index.picture_ids:
        expected = encoder.encode_images([pictures.read(picture_id)])[0]
        np.testing.assert_allclose(index.read_embedding(picture_id), expected, atol=1e-6)
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == [INSIDE]


def test_an_index_stays_as_it_is_where_a_look_at_the_times_of_files_finds_nothing_new(folder, encoder):
    """Its folder would be another one after a build."""
    for path in list_pictures(folder).files:
        os.utime(path, (1_000_000_000, 1_000_000_000))

    def build_again(**how):
        listing = list_pictures(folder)
        params = how.pop("params", FLAT)
        before = (folder / INSIDE).stat().st_ino if (folder / INSIDE).exists() else None
        built = build_folder_index(folder, folder / INSIDE, encoder, params, BuildPlan(listing.files, listing, **how))
        return built.pictures, built.encoded, (folder / INSIDE).stat().st_ino != before

    assert build_again() == (12, 12, True)
    assert build_again() == (12, 0, False)
    assert build_again(checksum=True) == (12, 0, True)
    assert build_again(params=make_index_params(rerank=7)) == (12, 0, True)
    assert build_again() == (12, 0, True)
    assert build_again() == (12, 0, False)
    (folder / "00.txt").write_text("a caption")
    assert build_again() == (12, 0, True)
    (folder / "00.txt").unlink()
    assert build_again() == (12, 0, True)
    assert build_again() == (12, 0, False)
    os.utime(folder / "03.png", (1_000_000_001, 1_000_000_001))
    assert build_again() == (12, 0, True)
    (folder / "03.png").unlink()
    assert build_again() == (11, 0, True)


def test_only_what_changed_is_encoded_again(folder, encoder):
    _build(folder, encoder)
    before = {file.name: file.read_bytes() for file in (folder / INSIDE).iterdir()}
    assert _build(folder, encoder).encoded == 0
    assert {file.name: file.read_bytes() for file in (folder / INSIDE).iterdir()} == before

    (folder / "00.png").rename(folder / "renamed.png")
    (folder / "03.png").unlink()
    Image.new("RGB", (8, 8), "red").save(folder / "06.png")
    Image.new("RGB", (8, 8), "red").save(folder / "copy of 06.png")
    status = compare_folder(folder / INSIDE, folder)
    assert (status.added, status.changed, status.removed) == (
        ["copy of 06.png", "renamed.png"],
        ["06.png"],
        ["00.png", "03.png"],
    )
    built = _build(folder, encoder)
    assert (built.pictures, built.encoded) == (12, 1)
    assert compare_folder(folder / INSIDE, folder) == type(status)([], [], [], {})


def test_an_index_on_a_network_is_read_and_not_mapped(folder, encoder, monkeypatch):
    built = _build(folder, encoder)
    mapped = Index.load(built.index)
    monkeypatch.setattr("compodiff.index.manifest.is_on_network", lambda place: place == built.index)
    whole = Index.load(built.index)
    assert [isinstance(each.embeddings, np.memmap) for each in (mapped, whole)] == [True, False]
    query = whole.read_embedding("00.png")[None]
    np.testing.assert_array_equal(whole.search(query, 5)[0], mapped.search(query, 5)[0])
    assert _build(folder, encoder).encoded == 0


def _aged(folder):
    """As if the pictures had been there for a day; one that was just written is never trusted."""
    for path in list_pictures(folder).files:
        os.utime(path, ns=(0, path.stat().st_mtime_ns - 86_400 * 10**9))


def _overwrite(path, other):
    """Give a file the bytes of `other`, which must be as many, without a trace in its size, time and inode."""
    status, content = path.stat(), other.read_bytes()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(0, status.st_mtime_ns))


@pytest.fixture
def bitmaps(tmp_path):
    """Four pictures of one size in bytes."""
    for number in range(4):
        draw_noise(number, 8, 8).save(tmp_path / f"{number}.png", compress_level=0)
    return tmp_path


def test_a_file_that_is_as_it_was_is_not_read_unless_told_to(bitmaps, encoder):
    _aged(bitmaps)
    _build(bitmaps, encoder)
    before = Index.load(bitmaps / INSIDE).pictures["sha256"].tolist()
    _overwrite(bitmaps / "1.png", bitmaps / "2.png")
    _build(bitmaps, encoder)
    assert Index.load(bitmaps / INSIDE).pictures["sha256"].tolist() == before
    assert _build(bitmaps, encoder, checksum=True).encoded == 0
    after = Index.load(bitmaps / INSIDE).pictures["sha256"].tolist()
    assert after == [before[0], before[2], *before[2:]]


@pytest.mark.parametrize("trace", ["another time", "another inode", "written a moment ago"])
def test_a_file_with_a_trace_of_change_is_read(bitmaps, encoder, trace):
    if trace != "written a moment ago":
        _aged(bitmaps)
    _build(bitmaps, encoder)
    path = bitmaps / "1.png"
    old = path.stat()
    if trace == "another inode":
        shutil.copy(bitmaps / "2.png", bitmaps / "new")
        (bitmaps / "new").replace(path)
        os.utime(path, ns=(0, old.st_mtime_ns))
    else:
        _overwrite(path, bitmaps / "2.png")
        os.utime(path, ns=(0, old.st_mtime_ns + (trace == "another time")))
    _build(bitmaps, encoder)
    digests = Index.load(bitmaps / INSIDE).pictures["sha256"].tolist()
    assert digests[1] == digests[2]


def test_a_build_that_was_killed_continues_and_ends_in_the_same_bytes(folder, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "BATCH", 4)

    class Killed(BaseException):
        pass

    add, added = parts_module.EncodedPictures.add, []

    def kill_after_ten(parts, *picture):
        if len(added) == 10:
            raise Killed
        added.append(add(parts, *picture))

    monkeypatch.setattr(parts_module.EncodedPictures, "add", kill_after_ten)
    with pytest.raises(Killed):
        _build(folder, encoder)
    monkeypatch.setattr(parts_module.EncodedPictures, "add", add)
    assert not (folder / INSIDE).exists()
    assert _build(folder, encoder).encoded == 12 - 8

    shutil.copytree(folder, tmp_path / "again", ignore=shutil.ignore_patterns(f"{INSIDE}*"))  # dates of files, too
    _build(tmp_path / "again", encoder)
    for file in (folder / INSIDE).iterdir():
        if file.name in ("stamps.npy", MANIFEST):  # other files, if of the same bytes
            continue
        assert file.read_bytes() == (tmp_path / "again" / INSIDE / file.name).read_bytes(), file.name


def test_an_index_elsewhere_finds_its_pictures(folder, encoder, tmp_path):
    index = Index.load(_build(folder, encoder, out=tmp_path / "elsewhere").index)
    pictures = PictureTable(index.folder / index.manifest.pictures_root, index.pictures)
    assert pictures.read("00.png").size == (30, 20)
    assert not (folder / INSIDE).exists()


def test_pictures_that_do_not_decode_are_left_out_unless_the_build_is_strict(folder, encoder):
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and then nothing")
    (folder / "empty.gif").touch()
    with pytest.raises(InputInvalid, match=r"2 of 14 pictures cannot be read: broken\.jpg \(.*; empty\.gif .*--strict"):
        _build(folder, encoder, strict=True)
    assert not (folder / INSIDE).exists()
    built = _build(folder, encoder)
    assert (built.pictures, built.encoded, sorted(built.unreadable)) == (12, 0, ["broken.jpg", "empty.gif"])


def test_a_folder_where_nothing_decodes_is_refused(tmp_path, encoder):
    for number in range(9):
        (tmp_path / f"{number}.png").write_text("no picture")
    with pytest.raises(
        InputInvalid, match=r"9 of 9 pictures cannot be read: .*4\.png .*, \.\.\.; nothing is left to index"
    ):
        _build(tmp_path, encoder)


def test_a_half_copied_file_is_left_out_until_it_changes(folder, encoder):
    _build(folder, encoder)
    whole = (folder / "00.png").read_bytes()
    half = folder / "new.png"
    half.write_bytes(whole[:100])
    os.utime(half, ns=(0, half.stat().st_mtime_ns - 86_400 * 10**9))
    assert compare_folder(folder / INSIDE, folder).added == ["new.png"]
    added = _build(folder, encoder, files=[half], keep=True)
    assert (added.pictures, added.encoded, list(added.unreadable)) == (12, 0, ["new.png"])
    status = compare_folder(folder / INSIDE, folder)
    assert (status.added, status.changed, status.removed) == ([], [], [])
    assert status.left_out["new.png"].startswith("does not decode")
    assert list_not_held(folder / INSIDE, folder, list_pictures(folder)) == []

    before = (folder / INSIDE).stat().st_ino
    assert list(_build(folder, encoder, files=[half], keep=True).unreadable) == ["new.png"]
    assert (folder / INSIDE).stat().st_ino == before  # nothing is new: the index is not written again

    half.write_bytes(whole + b" and the rest")
    assert compare_folder(folder / INSIDE, folder).added == ["new.png"]
    assert list_not_held(folder / INSIDE, folder, list_pictures(folder)) == [half]
    assert _build(folder, encoder, files=[half], keep=True).pictures == 13
    assert compare_folder(folder / INSIDE, folder).left_out == {}


def test_what_was_left_out_is_looked_at_again_when_more_kinds_can_be_read(folder, encoder, monkeypatch):
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    monkeypatch.setattr(kinds, "_is_installed", lambda _: False)
    built = _build(folder, encoder)
    assert (built.unreadable, built.others) == ({}, {".heic": 1})
    assert _build(folder, encoder).others == {".heic": 1}
    assert "pip install" in compare_folder(folder / INSIDE, folder).left_out["phone.heic"]
    assert compare_folder(folder / INSIDE, folder).added == []
    monkeypatch.setattr(kinds, "_is_installed", lambda _: True)
    assert compare_folder(folder / INSIDE, folder).added == ["phone.heic"]


def test_pictures_that_were_taken_out_leave_what_was_left_out_known(folder, encoder):
    (folder / "broken.png").touch()
    _build(folder, encoder)
    remove_from_index(folder, folder / INSIDE, FLAT, ["00.png"])
    assert list(compare_folder(folder / INSIDE, folder).left_out) == ["broken.png"]


@pytest.mark.parametrize(("ns", "inode"), [(2**64, 5), (-(2**64), 5), (10**18, 2**64 - 1)])
def test_times_and_inodes_beyond_64_bits_are_stamped(ns, inode):
    status = os.stat_result((0o100644, inode, 0, 1, 0, 0, 7, 0, 0, 0), {"st_mtime_ns": ns})
    assert np.array([make_stamp(status)], np.int64).shape == (1, 3)


def test_an_empty_folder_is_refused(tmp_path, encoder):
    with pytest.raises(InputInvalid, match=r"no JPEG, PNG, .* picture in"):
        _build(tmp_path, encoder)


def test_vectors_of_another_encoder_are_not_taken_over(folder, encoder):
    from dataclasses import replace

    from compodiff.encoders import Encoder
    from compodiff.encoders.open_clip_towers import OpenClipPictures

    _build(folder, encoder)
    part = replace(encoder.manifest.picture, image_size=32, mean=(0.1, 0.1, 0.1))
    other = Encoder(
        OpenClipPictures(encoder.picture.model, part), encoder.texts, replace(encoder.manifest, picture=part)
    )
    built = _build(folder, other)
    assert built.encoded == 12
    assert Index.load(built.index).manifest.encoder == other.manifest
