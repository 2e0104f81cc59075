"""The pictures behind an index: where their bytes are.

A table of pictures has one row each: `picture_id`, `name` (for people), `path` (of the file or tar, relative to the
pictures' root), `offset` and `length` (bytes within that file; of length 0, all from there on) and `sha256` (of those
bytes, "" where nobody knows), so that loose files and members of tars read alike.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.images.decoding import decode
from compodiff.images.files import is_regular
from compodiff.storage.names import is_inside

Place = tuple[str, int, int]  # path, offset and length
COLUMNS = ("picture_id", "name", "path", "offset", "length", "sha256")


class PictureTable:
    """A table of pictures and the folder that its paths start from."""

    def __init__(self, root: Path, table: pd.DataFrame | Mapping[str, Place]) -> None:
        """Join `root` and `table` (COLUMNS), or what stands for it where it is not in memory: places by id."""
        self.root = root
        self._at = table if isinstance(table, Mapping) else _list_places(table)

    def find_path(self, picture_id: str) -> Path:
        """Return the file (or tar) that holds a picture."""
        return self.root / self._at[picture_id][0]

    def read_bytes(self, picture_id: str) -> bytes:
        """Read a picture's bytes.

        Raises:
            InputInvalid: its file is no longer there, or the table names one outside the pictures' root.
        """
        name, offset, length = self._at[picture_id]
        path = self.find_path(picture_id)
        if not name:
            raise InputInvalid(f"the index does not say where the picture {picture_id} lies; give its table a path")
        if not is_inside(name):
            raise InputInvalid(f"the picture {picture_id} lies outside {self.root}; build the index again")
        if not is_regular(path):  # a pipe would be waited for
            raise InputInvalid(f"the picture {picture_id} is no longer at {path}; build the index again")
        try:
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(length or -1)
        except OSError as error:
            raise InputInvalid(f"the picture {picture_id} is no longer at {path}; build the index again") from error

    def read(self, picture_id: str) -> Image.Image:
        """Read a picture.

        Raises:
            InputInvalid: it cannot be read (see `read_bytes`), or is no longer a picture.
        """
        content = self.read_bytes(picture_id)
        try:
            return decode(content)
        except InputInvalid as error:
            raise InputInvalid(f"{picture_id} in {self.find_path(picture_id)}: {error}") from error


def _list_places(table: pd.DataFrame) -> Mapping[str, Place]:
    columns: list[list[Any]] = [table[name].tolist() for name in ("picture_id", "path", "offset", "length")]
    return {picture_id: (path, offset, length) for picture_id, path, offset, length in zip(*columns, strict=True)}


def tabulate(root: Path, places: Mapping[str, tuple[Path, int, int]]) -> pd.DataFrame:
    """Return the table of pictures under `root` of which id, file, offset and length are known; reads every byte.

    The id is also the name.
    """
    rows = []
    for picture_id, (path, offset, length) in places.items():
        with path.open("rb") as file:
            file.seek(offset)
            digest = hashlib.sha256(file.read(length)).hexdigest()
        rows.append((picture_id, picture_id, path.relative_to(root).as_posix(), offset, length, digest))
    return pd.DataFrame(rows, columns=COLUMNS)
