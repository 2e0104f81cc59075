"""What a folder of pictures holds: by name and by content, without what is passed over, behind links."""

from pathlib import Path

import pytest
from factories import draw_noise, encode_picture

from compodiff.errors import InputInvalid
from compodiff.images.ignoring import IGNORE_FILE
from compodiff.images.listing import list_pictures, name_passed


def _fill(root: Path, *names: str, content: bytes = b"") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def _names(root: Path, **how: object) -> list[str]:
    return [path.relative_to(root).as_posix() for path in list_pictures(root, **how).files]


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF", "ICO"])
def test_a_picture_is_known_by_its_content_whatever_its_name(tmp_path, format_):
    picture = encode_picture(draw_noise(1, 16, 16), format_)
    assert _names(_fill(tmp_path, "IMG_0001", "photo.dat", "a.b.c", content=picture)) == [
        "IMG_0001",
        "a.b.c",
        "photo.dat",
    ]


def test_what_is_no_picture_or_still_being_fetched_is_counted_not_opened(tmp_path):
    picture = encode_picture(draw_noise())
    _fill(tmp_path, "a.png.crdownload", "b.jpg.part", "film.mov", content=picture)
    _fill(tmp_path, "BMW.doc", content=b"BMW is a maker of cars, and P6 is no picture")
    _fill(tmp_path, "P5 notes", content=b"P5 notes of a meeting")
    listing = list_pictures(tmp_path)
    assert (listing.files, listing.left_out) == ([], {})
    assert listing.others == {".crdownload": 1, ".part": 1, ".mov": 1, ".doc": 1, "": 1}


def test_what_other_systems_leave_is_passed_over_and_counted_by_kind(tmp_path):
    junk = (
        "._a.png",
        ".DS_Store",
        "Thumbs.db",
        "@eaDir/a.png",
        ".thumbnails/a.png",
        "$Recycle.Bin/a.png",
        "lost+found/a.png",
    )
    more = (
        ".Trash-1000/files/a.png",
        "__MACOSX/._a.png",
        "My.photoslibrary/resources/derivatives/a.png",
        ".secret.png",
    )
    kept = ("a.png", "My.photoslibrary/originals/0/a.png", "resources/a.png", "cat (conflicted copy).png")
    _fill(tmp_path, *junk, *more, *kept, ".compodiff/embeddings.npy")
    listing = list_pictures(tmp_path)
    assert sorted(_names(tmp_path)) == sorted(kept)
    expected = {
        "._*",
        ".ds_store",
        "thumbs.db",
        "@eadir",
        ".thumbnails",
        "$recycle.bin",
        "lost+found",
        ".trash*",
        "__macosx",
    }
    assert {*listing.passed} == expected | {"*.photoslibrary/resources", "hidden"}
    assert listing.passed.total() == len(junk) + len(more)
    assert name_passed(listing.passed).startswith("11 passed over: 1 ")


def test_patterns_are_those_of_a_gitignore_and_may_stand_in_the_folder(tmp_path):
    _fill(
        tmp_path, "a.png", "b.tmp.png", "raw/c.png", "raw/keep/d.png", "x/raw/e.png", "private/f.png", "private/g.png"
    )
    (tmp_path / IGNORE_FILE).write_text("# mine\n/raw/\n*.tmp.png\n")
    assert _names(tmp_path) == ["a.png", "private/f.png", "private/g.png", "x/raw/e.png"]
    assert _names(tmp_path, patterns=("private/*", "!private/g.png", "x/**")) == ["a.png", "private/g.png"]
    assert list_pictures(tmp_path).passed == {"by your patterns": 2}
    with pytest.raises(InputInvalid, match="cannot be used as patterns"):
        list_pictures(tmp_path, patterns=("!",))
    (tmp_path / IGNORE_FILE).write_bytes(b"\xff\xfe\0")
    with pytest.raises(InputInvalid, match=rf"{IGNORE_FILE} cannot be read as patterns"):
        list_pictures(tmp_path)


def test_folders_behind_links_are_looked_at_once_each(tmp_path):
    root, away = _fill(tmp_path / "album", "real/a.png", "b.png"), _fill(tmp_path / "away", "c.png", "deep/d.png")
    links = {"1 to real": root / "real", "2 away": away, "3 away again": away, "here": root, "above": tmp_path}
    links |= {"4 deep": away / "deep", "kernel": Path("/proc/self"), "ping": root / "pong", "pong": root / "ping"}
    for name, target in links.items():
        (root / name).symlink_to(target)
    (away / "back").symlink_to(root)
    (away / "deep" / "up").symlink_to(away)
    assert _names(root) == ["b.png", "real/a.png", "2 away/c.png", "2 away/deep/d.png"]
    listing = list_pictures(root)
    assert listing.left_out == {
        "above/": "is a link to a folder that this one lies in, which is not followed",
        "kernel/": "is a link to /proc/self, which is not followed".replace(
            "self", str(Path("/proc/self").resolve().name)
        ),
    }
    assert listing.passed == {"links to what is here already": 6}


def test_a_link_to_a_picture_that_is_listed_itself_counts_once_where_that_is_asked_for(tmp_path):
    root = _fill(tmp_path / "album", "a.png")
    outside = _fill(tmp_path / "away", "z.png") / "z.png"
    for name, target in {"link.png": root / "a.png", "other.png": outside, "third.png": outside}.items():
        (root / name).symlink_to(target)
    assert _names(root) == ["a.png", "link.png", "other.png", "third.png"]
    assert _names(root, without_twins=True) == ["a.png", "other.png", "third.png"]


def test_some_folders_are_listed_and_one_that_is_away_is_named(tmp_path):
    _fill(tmp_path, "a/1.png", "b/2.png", "c/3.png")
    assert _names(tmp_path, folders=("a/", "c/")) == ["a/1.png", "c/3.png"]
    with pytest.raises(InputInvalid, match=r"cannot read the folder .*gone"):
        list_pictures(tmp_path, folders=("a/", "gone/"))
