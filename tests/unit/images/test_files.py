"""Which files of a folder are pictures, and how they are read."""

import json
import os
import socket
from collections import Counter
from pathlib import Path

import pytest
from factories import encode_picture
from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.images import PictureTable, list_pictures, read_picture, tabulate
from compodiff.images.files import read_regular
from compodiff.images.listing import name_others


def test_a_file_that_is_not_there_or_no_picture_is_named(tmp_path):
    with pytest.raises(InputInvalid, match=r"away\.png: No such file"):
        read_picture(tmp_path / "away.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputInvalid, match=r"text\.png: not a JPEG"):
        read_picture(tmp_path / "text.png")


def test_a_folder_is_listed_in_order_without_what_is_hidden(tmp_path):
    names = ("b/2.JPG", "b/1.png", "a.webp", "notes.txt", ".thumbs/3.png", ".hidden.png", "b/c/4.jpeg", "d.jfif")
    for name in (*names, "$RECYCLE.BIN/5.png", "Thumbs.db", "film.mov", "e.HEIC"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listing = list_pictures(tmp_path)
    listed = [path.relative_to(tmp_path).as_posix() for path in listing.files]
    assert listed == ["a.webp", "d.jfif", "e.HEIC", "b/1.png", "b/2.JPG", "b/c/4.jpeg"]
    assert (listing.left_out, listing.others) == ({}, {".mov": 1})
    assert name_others(Counter({".mov": 2, ".nef": 9, "": 1})) == (
        "12 files of other kinds left out: 9 .nef (pip install 'compodiff[photos]'), 2 .mov, 1 without a suffix"
    )


@pytest.mark.timeout(20)
def test_what_is_no_file_is_named_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "nothing.gif").symlink_to("away.gif")
    (tmp_path / "round.webp").symlink_to("round.webp")
    (tmp_path / "folder.bmp").mkdir()
    (tmp_path / "above").symlink_to(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "talk.tiff"))
    (tmp_path / "linked.png").symlink_to(tmp_path / "real.png")
    (tmp_path / "real.png").touch()
    listing = list_pictures(tmp_path)
    assert [path.name for path in listing.files] == ["linked.png", "real.png"]
    assert listing.left_out == {
        "nothing.gif": "is a link to nothing",
        "pipe.jpg": "is a pipe, not a file",
        "round.webp": "is a link to nothing",
        "talk.tiff": "is a socket, not a file",
        "zero.png": "is a device, not a file",
    }
    for name in ("pipe.jpg", "zero.png", "talk.tiff", "folder.bmp", "x" * 300, "a\0b"):
        with pytest.raises(InputInvalid):
            read_regular(tmp_path / name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what others may not read, and become another")
def test_folders_and_files_that_may_not_be_read_are_left_out_by_name(tmp_path):
    """As another user meets them: another's folder."""
    for name in ("another", "open"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name / "a.png")
    (tmp_path / "open" / "secret.png").write_bytes((tmp_path / "open" / "a.png").read_bytes())
    (tmp_path / "another").chmod(0o700)
    (tmp_path / "open" / "secret.png").chmod(0o600)
    tmp_path.chmod(0o755)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.chdir(tmp_path)  # the folders above are pytest's, for root alone
        os.setuid(65534)
        listing = list_pictures(Path("."))
        refused = []
        for path in listing.files:
            try:
                read_regular(path)
            except InputInvalid as error:
                refused.append([path.name, str(error)])
        os.write(writer, json.dumps([listing.left_out, refused]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    left_out, refused = json.loads(os.read(reader, 65536))
    assert left_out == {"another/": "cannot be read: Permission denied"}
    assert refused == [["secret.png", "Permission denied"]]


def test_a_file_of_more_bytes_than_a_picture_has_is_not_read(tmp_path):
    with (tmp_path / "endless.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputInvalid, match=r"has 1,099,511,627,776 bytes; a picture has at most"):
        read_regular(tmp_path / "endless.png")


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_what_is_no_folder_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(InputInvalid, match=f"cannot read the folder .*{name}"):
        list(list_pictures(tmp_path / name).files)


def test_pictures_are_read_from_within_files_and_missed_by_name(tmp_path):
    red, blue = encode_picture("red"), encode_picture("blue")
    packed = tmp_path / "packed.tar"
    packed.write_bytes(red + blue)
    table = tabulate(tmp_path, {"red": (packed, 0, len(red)), "blue": (packed, len(red), len(blue))})
    pictures = PictureTable(tmp_path, table)
    assert pictures.read("blue").getpixel((0, 0)) == (0, 0, 255)
    assert pictures.find_path("red") == packed
    packed.write_bytes(red)
    with pytest.raises(InputInvalid, match=r"blue in .*packed\.tar: is an empty file"):
        pictures.read("blue")
    packed.unlink()
    with pytest.raises(InputInvalid, match=r"red is no longer at .*; build the index again"):
        pictures.read("red")
