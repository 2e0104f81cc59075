"""How an index and the folders that it is over differ."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from compodiff.errors import InputInvalid
from compodiff.images import COLUMNS, PictureListing
from compodiff.images.files import read_regular
from compodiff.index.index import GROUP, Index
from compodiff.index.left_out import LeftOut
from compodiff.index.manifest import require_folder
from compodiff.index.metadata import SIDECAR
from compodiff.index.previous import EarlierIndex, stamp_file
from compodiff.index.scanning import name_in
from compodiff.index.sources import Sources


@dataclass(frozen=True)
class FolderStatus:
    """How an index and its folder differ: paths from the folder, sorted; `left_out` with the reasons."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    left_out: dict[str, str] = field(default_factory=dict)


def compare_folder(index_folder: Path, folder: Path) -> FolderStatus:
    """Compare the index at `index_folder` with the bytes that are now in `folder`.

    Raises:
        InputInvalid: there is no index, or it is of another folder.
    """
    table = open_index(index_folder, folder).pictures
    indexed = dict(zip(table["path"], table["sha256"], strict=True))
    known = LeftOut.read_beside(index_folder)
    listing = Sources.read_beside(index_folder, folder).list_pictures()
    present, left_out = dict[str, str](), dict(listing.left_out)
    for path in listing.files:
        name = name_in(folder, path)
        sha256, fault = _digest(path)
        if fault:
            left_out[name] = fault
        elif reason := known.find_reason(name, sha256):
            left_out[name] = reason.text
        else:
            present[name] = sha256
    return FolderStatus(
        added=sorted(present.keys() - indexed.keys()),
        changed=sorted(path for path in present.keys() & indexed.keys() if present[path] != indexed[path]),
        removed=sorted(indexed.keys() - present.keys()),
        left_out=dict(sorted(left_out.items())),
    )


def open_index(index_folder: Path, folder: Path) -> Index:
    """Open the index of `folder`.

    Raises:
        InputInvalid: there is none, or it is of another folder.
    """
    opened = Index.load(index_folder)
    require_folder(index_folder, opened.manifest, folder)
    return opened


def count_values(index_folder: Path, folder: Path) -> dict[str, int]:
    """Return of how many pictures each column says something that a filter can ask for."""
    table = open_index(index_folder, folder).pictures
    shown = [name for name in table.columns if name not in (*COLUMNS, GROUP, SIDECAR)]
    counts = {str(name): int(table[name].notna().sum()) for name in ("name", *shown)}
    return {name: count for name, count in counts.items() if count}


def list_not_held(index_folder: Path, folder: Path, listing: PictureListing) -> list[Path]:
    """Return the files of `folder` that its index neither holds nor left out as they are now."""
    held, known = open_index(index_folder, folder).row, LeftOut.read_beside(index_folder)
    names = {path: name_in(folder, path) for path in listing.files}
    return [path for path, name in names.items() if name not in held and not known.is_unchanged(name, stamp_file(path))]


def list_changed(index_folder: Path, folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return those of `files` that the index of `folder` does not know as they are now."""
    held, known = EarlierIndex(open_index(index_folder, folder)), LeftOut.read_beside(index_folder)
    seen = {path: (name_in(folder, path), stamp_file(path)) for path in files}
    return [path for path, it in seen.items() if held.find_unchanged(*it) is None and not known.is_unchanged(*it)]


def _digest(path: Path) -> tuple[str, str]:
    """Return the sha256 of a file's bytes, or why they cannot be read."""
    try:
        return hashlib.sha256(read_regular(path)[1]).hexdigest(), ""
    except InputInvalid as error:
        return "", str(error)
