"""What a person means by the name of a reference: a picture file, an id of the index, or an emoji."""

import hashlib
import re
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.images import read_picture
from compodiff.images.files import is_regular, read_regular
from compodiff.index.filters import Filters
from compodiff.index.index import Index
from compodiff.index.segments.opened import SegmentedIndex

_STYLES = ("twemoji", "openmoji")
_NEAREST = 3  # ids that an error names
_COMPARED, _LOOKED_THROUGH = 200, 20_000  # characters of a name, and ids that it is compared with


def find_reference(name: str, index: Index) -> str | Image.Image:
    """Return the id of the index, or the picture, that `name` stands for.

    Raises:
        InputInvalid: it is no picture file, no id of the index, and no emoji of the default gallery.
    """
    path = Path(name)
    if is_regular(path):
        return _find_by_file(path, index) or read_picture(path)
    if (picture_id := find_known_id(name, index)) is not None:
        return picture_id
    raise InputInvalid(f"{name} is neither a picture file nor in the index, {_describe_nearest(name, index)}")


def find_known_id(name: str, index: Index) -> str | None:
    """Return the id of the index that `name` is, or that of the emoji that it is; None where there is none."""
    codepoints = "-".join(f"{ord(character):X}" for character in name if character != "\N{VARIATION SELECTOR-16}")
    named = (name, *(f"{style}-{codepoints}" for style in _STYLES))
    return next((picture_id for picture_id in named if picture_id in index.row), None)


def find_named(part: str, index: Index, filters: Filters) -> Sequence[int]:
    """Return the rows of the pictures in whose names `part` stands, in capitals or not; all for ""."""
    if not part:
        return index.list_rows()
    if isinstance(index, SegmentedIndex):
        quoted = part.replace("'", "''")
        rows: list[int] = index.drop_removed(filters.find_rows(f"contains(lower(name), lower('{quoted}'))")).tolist()
        return rows
    names = index.pictures["name"].str.contains(part, case=False, regex=False)
    found: list[int] = np.flatnonzero(names).tolist()
    return found


def _find_by_file(path: Path, index: Index) -> str | None:
    try:
        return find_by_bytes(read_regular(path)[1], index)
    except InputInvalid:  # `read_picture` says so
        return None


def find_by_bytes(content: bytes, index: Index) -> str | None:
    """Return the id of the picture of the index with these bytes, which then need not be encoded; None without one."""
    digest = hashlib.sha256(content).hexdigest()
    same = index.pictures["picture_id"][index.pictures["sha256"] == digest]
    return str(same.iloc[0]) if len(same) else None


def _describe_nearest(name: str, index: Index) -> str:
    """Say which pictures have the name as a word in theirs, or else which ids look most like it."""
    ids = list(islice(index.row, _LOOKED_THROUGH))
    near = _list_called(name, index) or get_close_matches(name[:_COMPARED], ids, n=_NEAREST)
    return f"which holds {', '.join(near)}" if near else f"whose ids look like {ids[0]}"


def _list_called(name: str, index: Index) -> list[str]:
    """Return the ids of pictures whose names have all of `name` as words, the shortest names first, with the names."""
    if index.rows is not None or not name.strip() or len(name) > _COMPARED:
        return []
    whole = rf"\b{re.escape(name.strip().encode(errors='replace').decode())}\b"  # of a shell that is not UTF-8
    rows = np.flatnonzero(index.pictures["name"].str.contains(whole, case=False, regex=True, na=False))
    shortest = sorted(rows.tolist(), key=lambda row: len(index.names[row]))[:_NEAREST]
    return [f"{index.picture_ids[row]} ({index.names[row]})" for row in shortest]
