"""Where the pictures of a benchmark are, and how one is read: loose files, members of tars, or crops of either."""

import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.images import SUFFIXES, decode, list_pictures
from compodiff.images.files import is_regular, is_whole
from compodiff.storage.names import is_inside


class BenchmarkPictures(Protocol):
    """Reads the pictures of a benchmark by id."""

    def has(self, picture: str) -> bool:
        """Return whether the picture is there."""
        ...

    def is_broken(self, picture: str) -> bool:
        """Return whether what is there is no whole picture: an empty file, a page of HTML, a download cut short."""
        ...

    def stamp(self, picture: str) -> str:
        """Return what changes when the picture that is there changes: its file's size and time of change."""
        ...

    def locate(self, picture: str) -> tuple[Path, int, int] | None:
        """Return file, offset and length of the picture's bytes; None where it is a crop."""
        ...

    def read(self, picture: str) -> Image.Image:
        """Decode the picture.

        Raises:
            InputInvalid: it is not there or does not decode.
        """
        ...


@dataclass(frozen=True)
class FilePictures:
    """Pictures in files: `places` lists where the picture of an id may lie, the likeliest first."""

    places: Callable[[str], Iterable[Path]]

    def has(self, picture: str) -> bool:
        """Return whether one of its places holds a file."""
        return self._find_file(picture) is not None

    def is_broken(self, picture: str) -> bool:
        """Return whether its file is no picture, or is cut short."""
        path = self._find_file(picture)
        return path is not None and not is_whole(path)

    def stamp(self, picture: str) -> str:
        """Return the size and time of change of its file; empty where there is none."""
        path = self._find_file(picture)
        return stamp_file(path) if path else ""

    def locate(self, picture: str) -> tuple[Path, int, int] | None:
        """Return its file, from its start to its end."""
        path = self._find_file(picture)
        return (path, 0, path.stat().st_size) if path else None

    def read(self, picture: str) -> Image.Image:
        """Decode the picture from the first place that holds it."""
        if path := self._find_file(picture):
            return decode_as(f"{picture} ({path})", path.read_bytes())
        tried = next(iter(self.places(picture)), "anywhere")
        raise InputInvalid(f"picture {picture} is not there (looked for {tried}); see: compodiff benchmark doctor")

    def _find_file(self, picture: str) -> Path | None:
        """Return the first of its places that holds a file; an id that leads out of the benchmark's folder has none."""
        return next((path for path in self.places(picture) if is_inside(picture) and is_regular(path)), None)


@dataclass(frozen=True)
class GalleryFolder:
    """A folder of pictures, loose at any depth or in tars. The id of a picture is its name without the suffix."""

    folder: Path
    files: Mapping[str, Path] = field(default_factory=dict)
    members: Mapping[str, tuple[Path, int, int]] = field(default_factory=dict)

    @classmethod
    def scan(cls, folder: Path) -> "GalleryFolder":
        """List the pictures in `folder`.

        Raises:
            InputInvalid: two pictures share an id, or a tar cannot be read.
        """
        files: dict[str, Path] = {}
        members: dict[str, tuple[Path, int, int]] = {}
        loose = list_pictures(folder).files if folder.is_dir() else []
        for path in sorted((*loose, *(each for each in folder.rglob("*.tar") if is_regular(each)))):
            found = list_tar_members(path) if path.suffix == ".tar" else {}
            if path.suffix != ".tar":
                found = {strip_suffix(path.relative_to(folder).as_posix()): (path, 0, 0)}
            for name, place in found.items():
                if name in files or name in members:
                    raise InputInvalid(f"{folder} holds two pictures named {name!r} (one in {path}); rename one")
                if path.suffix == ".tar":
                    members[name] = place
                else:
                    files[name] = path
        return cls(folder, files, members)

    @property
    def ids(self) -> tuple[str, ...]:
        """Every picture's id, sorted."""
        return tuple(sorted((*self.files, *self.members)))

    def has(self, picture: str) -> bool:
        """Return whether the folder holds the picture."""
        return picture in self.files or picture in self.members

    def is_broken(self, picture: str) -> bool:
        """Return whether its bytes are no picture, or are cut short."""
        if picture in self.files:
            return not is_whole(self.files[picture])
        return not is_whole(*self.members[picture])

    def stamp(self, picture: str) -> str:
        """Return the size and time of change of its file or tar, and its place there."""
        path, offset, length = self.members.get(picture) or (self.files[picture], 0, 0)
        return f"{stamp_file(path)}:{offset}:{length}"

    def locate(self, picture: str) -> tuple[Path, int, int] | None:
        """Return its file or tar, and its place there."""
        if picture in self.files:
            return self.files[picture], 0, self.files[picture].stat().st_size
        return self.members.get(picture)

    def read(self, picture: str) -> Image.Image:
        """Decode a picture of the folder."""
        if picture in self.files:
            return decode_as(f"{picture} ({self.files[picture]})", self.files[picture].read_bytes())
        if picture not in self.members:
            raise InputInvalid(f"picture {picture} is not in {self.folder}")
        path, offset, length = self.members[picture]
        with path.open("rb") as stream:
            stream.seek(offset)
            content = stream.read(length)
        return decode_as(f"{picture} ({path})", content)


def locate_pictures(parts: Iterable[Any], names: Iterable[str]) -> dict[str, tuple[Path, int, int]]:
    """Return file, offset and length of pictures of a benchmark.

    Args:
        parts: of the benchmark.
        names: of the pictures.

    Raises:
        InputInvalid: one is not there, or is a part of another picture.
    """
    places: dict[str, tuple[Path, int, int]] = {}
    for name in names:
        found = next((part.pictures.locate(name) for part in parts if part.pictures.has(name)), None)
        if found is None:
            raise InputInvalid(f"picture {name} is missing, or a crop of another; index another benchmark's gallery")
        places[name] = found
    return places


def stamp_file(path: Path) -> str:
    """Return the size in bytes and time of change of a file."""
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}"


def strip_suffix(name: str) -> str:
    """Turn `cats/tom.png` and `cats/tom` into `cats/tom`; a dot that starts no picture suffix stays."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in SUFFIXES else name


def list_tar_members(path: Path) -> dict[str, tuple[Path, int, int]]:
    """Map the id of each picture in a tar to (tar, offset, length), for reading without unpacking.

    Raises:
        InputInvalid: the tar is broken.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            return {
                strip_suffix(member.name): (path, member.offset_data, member.size)
                for member in tar
                if member.isfile() and Path(member.name).suffix.lower() in SUFFIXES
            }
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:  # ValueError: a header's numbers
        raise InputInvalid(f"{path} is not a readable tar ({error}); make it again") from error


def decode_as(label: str, content: bytes) -> Image.Image:
    """Decode a picture, as everywhere in this program (compodiff/images): upright, in 8 bits.

    Raises:
        InputInvalid: it does not decode; the message names `label`.
    """
    try:
        return decode(content)
    except InputInvalid as error:
        raise InputInvalid(f"picture {label} cannot be read: {error}") from error
