"""Webdataset tars: files of one key are a row; what a picture's bytes are is not read, only where they lie.

KEY.reference.png, KEY.target.jpg, KEY.mask.png, KEY.json    triplets; other sets' names are in `records.ALIASES`
KEY.jpg, KEY.txt, KEY.json                                   pairs, as img2dataset writes them
"""

import io
import os
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compodiff.captions.caption_sets import require_end
from compodiff.errors import InputInvalid
from compodiff.images.kinds import SUFFIXES
from compodiff.interchange.faults import BAD_TEXT, DAMAGED_FILE, NOT_DOWNLOADED, NOT_JSON, Fault
from compodiff.interchange.records import RawRow
from compodiff.interchange.tables import count_failures
from compodiff.sets import Place
from compodiff.sets.addresses import is_file, locate, open_binary
from compodiff.storage.atomic import replace_path
from compodiff.storage.json_files import parse_json

_LARGEST_TEXT = 2**24  # bytes of a .json or .txt
_NEGATIVE = "negative_"
File = Place | bytes


@dataclass(frozen=True)
class TarUnit:
    """A tar.

    Attributes:
        path: of the tar.
        name: of the tar, from the folder that is imported.
        split: that its name says.
        downloaded: whether img2dataset wrote it: an entry without a picture is one that was not downloaded.
    """

    path: Path
    name: str
    split: str
    downloaded: bool = False

    def read(self, others: Counter[str]) -> Iterator[RawRow | Fault]:
        """Yield its rows, one in memory at a time; `others` counts what was not downloaded.

        Raises:
            Fault: the tar is cut short or none.
        """
        stem = self.name.removesuffix(".tar")
        for number, (key, files) in enumerate(_read_entries(self.path, self.name)):
            where = f"{self.path}: {key}"
            try:
                values = _sort_files(files, where)
            except Fault as fault:
                yield fault
                continue
            if self.downloaded and not any(isinstance(file, Place) for file in files.values()):
                others[NOT_DOWNLOADED] += 1
                continue
            yield RawRow(where, f"{stem}-{number:06d}", self.split, {**values, "__key__": key})
        if self.downloaded:  # those that failed stand only in the table beside the tar
            others[NOT_DOWNLOADED] = max(others[NOT_DOWNLOADED], count_failures(self.path.with_suffix(".parquet")))


def list_tars(folder: Path) -> list[Path]:
    """Return the tars of a folder, at any depth, in order; or the one tar that is named."""
    if folder.suffix == ".tar" and is_file(folder):
        return [folder]
    return sorted(path for path in folder.rglob("*.tar") if is_file(path))


def list_members(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each file of a tar, and its offset and length.

    Raises:
        Fault: the tar is cut short or none.
    """
    for _, member in _read_members(path):
        yield os.path.normpath(_replace_bytes(member.name)), member.offset_data, member.size


def write_tar(path: Path, entries: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write entries (key, extension -> content), whole or not at all; equal entries give equal bytes."""
    with replace_path(path) as temporary, tarfile.open(temporary, "w") as tar:
        for key, files in entries:
            for extension, content in files.items():
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _read_members(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    last = "nothing"
    try:
        with open_binary(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # a tar remembers each member that it ever read
                last = member.name
                if member.isfile() and not member.issparse() and not os.path.basename(last).startswith("."):
                    yield tar, member
            require_end(file)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise Fault(
            DAMAGED_FILE, f"{path} is cut short, compressed or no tar, after {last} ({error}); fetch or unpack it again"
        ) from error


def _read_entries(path: Path, name: str) -> Iterator[tuple[str, dict[str, File]]]:
    """Yield the key of each entry and its files by their extension: the place of a picture, the bytes of a text."""
    key, files = "", dict[str, File]()
    for tar, member in _read_members(path):
        folder, _, file = member.name.removeprefix("./").rpartition("/")
        stem, _, extension = file.partition(".")
        own = f"{folder}/{stem}" if folder else stem
        if own != key and files:
            yield key, files
            files = {}
        key = own
        suffix = f".{extension.rpartition('.')[2].lower()}"
        if suffix in SUFFIXES:
            own_name = f"{name}/{_replace_bytes(member.name)}"
            files[extension.lower()] = Place(own_name, locate(path), member.offset_data, member.size)
        elif suffix in (".json", ".txt") and member.size <= _LARGEST_TEXT:
            stream = tar.extractfile(member)
            content = stream.read() if stream is not None else b""
            if len(content) < member.size:
                raise Fault(DAMAGED_FILE, f"{path} is cut short in {member.name}; fetch it again")
            files[extension.lower()] = content
        else:
            files.setdefault(extension.lower(), b"")
    if files:
        yield key, files


def _replace_bytes(name: str) -> str:
    """Return a member's name without the bytes that are not UTF-8: its place is found without them."""
    return name.encode("utf-8", "replace").decode()


def _sort_files(files: Mapping[str, File], where: str) -> dict[str, Any]:
    """Sort an entry's files into columns: pictures by their name without the format, texts, what the json says.

    Raises:
        Fault: the json is none.
    """
    said, texts, pictures = dict[str, Any](), dict[str, Any](), dict[str, Any]()
    negatives: dict[int, Place] = {}
    for extension, content in files.items():
        stem, _, suffix = extension.rpartition(".")
        if isinstance(content, Place):
            number = stem.removeprefix(_NEGATIVE)
            if stem != number and number.isdigit():
                negatives[int(number)] = content
            else:
                pictures[stem or "image"] = content
        elif suffix == "json":
            try:
                parsed = parse_json(content, f"{where}.{extension}")
            except InputInvalid as error:
                raise Fault(NOT_JSON, str(error)) from error
            if not isinstance(parsed, dict):
                raise Fault(NOT_JSON, f"{where}.{extension} is no JSON object")
            said |= parsed
        elif suffix == "txt":
            try:
                texts[stem or "txt"] = content.decode()
            except UnicodeDecodeError as error:
                raise Fault(BAD_TEXT, f"{where}.{extension} is not UTF-8 text") from error
    if negatives:
        pictures["negatives"] = [negatives[number] for number in sorted(negatives)]
    return {**texts, **said, **pictures}
