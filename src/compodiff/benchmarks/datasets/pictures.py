"""Where the pictures of a benchmark are, and how one is read: loose files, members of tars, or crops of either."""

import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.images import SUFFIXES, decode, list_pictures
from compodiff.images.files import is_regular, is_whole
from compodiff.storage.json_files import parse_json
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
        for path in sorted((*loose, *_find_tars(folder))):
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
        place = self.members[picture]
        return decode_as(f"{picture} ({place[0]})", read_slice(*place))


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
    found: dict[str, tuple[Path, int, int]] = {}
    for name, place in _walk_tar(path):
        if Path(name).suffix.lower() in SUFFIXES:
            if strip_suffix(name) in found:
                raise InputInvalid(f"{path} holds two pictures named {strip_suffix(name)!r}; rename one")
            found[strip_suffix(name)] = place
    return found


def list_samples(folder: Path) -> dict[str, tuple[Path, int, int]]:
    """Map the path that each sample's JSON member gives as `img_path`, in the WebDataset tars below `folder`.

    Raises:
        InputInvalid: a tar or a JSON member is broken, or two samples give one path.
    """
    found: dict[str, tuple[Path, int, int]] = {}
    for tar in _find_tars(folder):
        pictures, named = dict[str, tuple[Path, int, int]](), dict[str, str]()
        for name, place in _walk_tar(tar):
            key, _, suffix = name.rpartition(".")
            if f".{suffix.lower()}" in SUFFIXES:
                pictures[key] = place
            elif suffix == "json":
                sample = parse_json(read_slice(*place), f"{tar}: {name}")
                if not isinstance(sample, dict) or not isinstance(sample.get("img_path"), str):
                    raise InputInvalid(f"{tar}: {name} has no img_path")
                named[key] = sample["img_path"].removeprefix("./")
        for key, path in named.items():
            if path in found:
                raise InputInvalid(f"{tar} holds a second picture {path!r}; name each once")
            if key in pictures:
                found[path] = pictures[key]
    return found


def read_slice(path: Path, offset: int, length: int) -> bytes:
    """Return `length` bytes of a file from `offset`."""
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(length)


def _find_tars(folder: Path) -> list[Path]:
    """Return the tars below a folder, sorted; a name that begins with a dot is a system's own, such as a Mac's."""
    return sorted(
        each for each in folder.rglob("*.tar") if is_regular(each) and not _is_hidden(each.relative_to(folder).parts)
    )


def _is_hidden(parts: Iterable[str]) -> bool:
    """Return whether a file, or a folder of its path, has a name that begins with a dot."""
    return any(part.startswith(".") and part not in (".", "..") for part in parts)


def _walk_tar(path: Path) -> Iterator[tuple[str, tuple[Path, int, int]]]:
    """Yield name and place of each regular member whose name, and whose folders' names, begin without a dot."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if member.isfile() and not _is_hidden(name.split("/")):
                    yield name, (path, member.offset_data, member.size)
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
