"""Where the pictures of a set lie: as files below a root, or as members of the tars below it."""

import base64
import binascii
import hashlib
import os
import posixpath
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from compodiff.errors import InputInvalid
from compodiff.images.decoding import read_size
from compodiff.images.kinds import SUFFIXES
from compodiff.interchange.faults import BAD_NAME, MISSING_PICTURE, Fault
from compodiff.sets import Place, PlaceReader
from compodiff.sets.addresses import is_address, is_file, locate
from compodiff.sets.form import WHOLE_FILE
from compodiff.storage.names import is_inside

_TRIED = (".jpg", ".jpeg", ".png", ".webp")  # suffixes of a picture that is named without one, or by its film's
_HEADER = 2**18  # bytes in which a picture's size stands, most often
_SHORTEST_BASE64 = 600  # characters; a longer text is no path
_FILMS = (".mp4", ".webm", ".mkv", ".avi", ".mov")


@dataclass(frozen=True)
class Inline:
    """A picture whose bytes stand in a table, so that no place can name them.

    Attributes:
        content: the bytes.
        name: that the set gives it; "" for one that only equal bytes have.
    """

    content: bytes
    name: str = ""

    @cached_property
    def digest(self) -> str:
        """Return a name that only equal bytes have."""
        return hashlib.blake2b(self.content, digest_size=16).hexdigest()


Picture = Place | Inline


@dataclass(frozen=True)
class PictureRoot:
    """What the paths of a manifest count from; picklable.

    Attributes:
        folder: of the pictures, or of tars; or its address.
        index: what lies below it (`listing.index_root`), None where files are looked for one by one.
    """

    folder: Path
    index: Path | None = None

    def find(self, path: str) -> Place:
        """Return where a picture lies; "a.tar/name.jpg" and "name.jpg" both find a member of a tar.

        Raises:
            Fault: it is not there, leads out of the root, or two tars have it.
        """
        require_utf8(path)
        name = posixpath.normpath(self._see_from_root(path))
        if not is_inside(name) or name == ".":
            raise Fault(BAD_NAME, f"names the picture {path!r}, which is not below {self.folder}")
        for each in _possible_names(name):
            if not self._is_listed and is_file(self.folder / each):
                return Place(each, locate(self.folder / each))
            if self.index is not None and (found := self._find_member(each)):
                return found
        raise Fault(MISSING_PICTURE, f"names the picture {path!r}, which is not in {self.folder}")

    def _see_from_root(self, path: str) -> str:
        """Return a path from the root; "" for an address that is not below it."""
        if is_address(path):
            return path.removeprefix(f"{self.folder}/") if path.startswith(f"{self.folder}/") else ""
        return os.path.relpath(path, self.folder) if os.path.isabs(path) else path

    @property
    def _is_listed(self) -> bool:
        """Whether the index holds the files below the root as well as what its tars hold."""
        return self.index is not None and is_address(str(self.folder))

    def _find_member(self, name: str) -> Place | None:
        tar, inside, member = name.partition(".tar/")
        where = (f"{tar}.tar", member) if inside else (None, name)
        rows = self._members.execute(
            "SELECT tar, offset, length FROM member WHERE name = ?2 AND (?1 IS NULL OR tar = ?1) ORDER BY tar LIMIT 2",
            where,
        ).fetchall()
        if not rows:
            return None
        own, offset, length = rows[0]
        if not own:  # a file of its own
            return Place(name, locate(self.folder / name))
        if len(rows) > 1:
            raise Fault(BAD_NAME, f"names the picture {name!r}, which two tars have; write {own}/{name}")
        path = self.folder if self.folder.suffix == ".tar" else self.folder / own
        return Place(f"{own}/{where[1]}", locate(path), offset, length)

    @cached_property
    def _members(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.index}?mode=ro", uri=True)

    def __getstate__(self) -> dict[str, Any]:
        """Travel to a worker without the connection."""
        return {"folder": self.folder, "index": self.index}


def require_utf8(name: str) -> None:
    """Refuse a name that a table cannot hold.

    Raises:
        Fault: it is not UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise Fault(BAD_NAME, f"names the picture {name!r}, which is not UTF-8; rename it") from error


def take_picture(value: Any, root: PictureRoot | None) -> Picture | None:
    """Return the picture that a value of a row stands for, None for none.

    Raises:
        Fault: it stands for none that is there.
    """
    if isinstance(value, Mapping):
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if value is None or value == "" or isinstance(value, Place):
        return value or None
    if isinstance(value, bytes):
        return Inline(value)
    if not isinstance(value, str):
        raise Fault(MISSING_PICTURE, f"has {str(value)[:40]!r} for a picture; name its column with --column")
    if root is not None:
        try:
            return root.find(value)
        except Fault:
            if len(value) < _SHORTEST_BASE64:
                raise
    try:
        return Inline(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError) as error:
        raise Fault(
            MISSING_PICTURE,
            f"has {value[:60]!r} for a picture; if it is a path, say from where: --pictures FOLDER; "
            "if another column is meant: --column",
        ) from error


def read_content(picture: Picture) -> bytes:
    """Read a picture's bytes.

    Raises:
        InputInvalid: its file breaks off.
    """
    return picture.content if isinstance(picture, Inline) else PlaceReader("/").read(picture)


def read_picture_size(picture: Picture) -> tuple[int, int]:
    """Read a picture's width and height out of its header.

    Raises:
        InputInvalid: it has none.
    """
    if isinstance(picture, Place):
        length = picture.length
        if length == WHOLE_FILE and not is_address(picture.file):
            length = os.stat(picture.file).st_size
        if length > _HEADER:
            try:
                return read_size(read_content(replace(picture, length=_HEADER)))
            except InputInvalid:
                pass  # of a picture with more metadata than that before its size
    return read_size(read_content(picture))


def _possible_names(name: str) -> Iterator[str]:
    yield name
    stem, suffix = posixpath.splitext(name)
    if suffix.lower() in SUFFIXES:
        return
    yield from (name + each for each in _TRIED)
    if suffix.lower() in _FILMS:
        yield from (stem + each for each in _TRIED)
