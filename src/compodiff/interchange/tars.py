"""Webdataset tars: {key}.reference.png, {key}.target.png, {key}.json and, where there is one, {key}.mask.png.

We write {key}.txt, the relative caption, too, as sets of pictures with captions do. Other sets' jpg, jpeg and webp and
other sets' names (`records.ALIASES`) are read as well; texts come from the json and from txt.
"""

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from compodiff.captions.caption_sets import require_end
from compodiff.errors import InputInvalid
from compodiff.images.files import is_regular
from compodiff.interchange.records import Record, find_roles, record_of
from compodiff.storage.atomic import replace_path
from compodiff.storage.json_files import parse_json

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def list_tars(folder: Path) -> list[Path]:
    """The tars of a folder, at any depth, in order."""
    return sorted(path for path in folder.rglob("*.tar") if is_regular(path))


def read_tar(path: Path, chosen: Mapping[str, str]) -> Iterator[Record]:
    """Yield the triplets of a tar, one in memory at a time.

    Raises:
        InputInvalid: the tar is cut short or none; an entry lacks a picture or a caption.
    """
    roles: dict[str, str] = {}
    seen: dict[str, None] = {}
    for key, files in _read_entries(path):
        where = f"{path}: {key}"
        row, pictures = _sort_parts(files, where)
        row["__key__"] = key
        if not {*pictures, *row} <= seen.keys():  # a mask may come with the hundredth entry
            seen |= dict.fromkeys((*pictures, *row))
            roles = find_roles([*seen], chosen, where)
        shown = {role: pictures.get(roles.get(role, "")) for role in ("reference_image", "target_image", "mask_image")}
        # Our own json has names of the pictures under "reference" and "target", which are roles' names too.
        yield record_of(row, {role: name for role, name in roles.items() if name in row}, shown, where)


def write_tar(path: Path, entries: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write entries (key, extension -> content), whole or not at all; equal entries give equal bytes."""
    with replace_path(path) as temporary, tarfile.open(temporary, "w") as tar:
        for key, files in entries:
            for extension, content in files.items():
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _read_entries(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    key, files = "", dict[str, bytes]()
    try:
        require_end(path)
        with tarfile.open(path) as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, file = member.name.rpartition("/")
                stem, _, extension = file.partition(".")
                name = f"{folder}/{stem}" if folder else stem
                if name != key and files:
                    yield key, files
                    files = {}
                stream = tar.extractfile(member)
                key, files[extension.lower()] = name, stream.read() if stream is not None else b""
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise InputInvalid(
            f"{path} is cut short or no tar, after {key or 'nothing'} ({error}); fetch it again"
        ) from error
    if files:
        yield key, files


def _sort_parts(files: Mapping[str, bytes], where: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Sort an entry's files into texts and, by their name without the format, pictures."""
    row: dict[str, Any] = {}
    pictures: dict[str, bytes] = {}
    for extension, content in files.items():
        stem, suffix = (extension.rpartition(".")[0], f".{extension.rpartition('.')[2]}")
        if suffix in _PICTURES:
            pictures[stem] = content
        elif suffix == ".json":
            said = parse_json(content, f"{where}.{extension}")
            if not isinstance(said, dict):
                raise InputInvalid(f"{where}.{extension} is no JSON object; leave the entry out")
            row |= said
        elif suffix == ".txt":
            row[stem or "txt"] = content.decode("utf-8", errors="replace")
    return row, pictures
