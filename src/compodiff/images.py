"""The pictures behind an index: where their bytes are, and how bytes become a picture.

A table of pictures has one row each: `picture_id`, `name` (for people), `path` (of the file or tar, relative to the
pictures' root), `offset` and `length` (bytes within that file) and `sha256` (of those bytes), so that loose files and
members of tars read alike.
"""

import hashlib
import io
import os
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError

from compodiff.errors import InputInvalid
from compodiff.paths import stays_inside

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif"})
COLUMNS = ("picture_id", "name", "path", "offset", "length", "sha256")

# Everything that Pillow raises on bytes that are cut short or not what their header says.
_UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error)


def decode(content: bytes, max_pixels: int | None = None) -> Image.Image:
    """Bytes of a JPEG, PNG, WebP or GIF as an upright RGB picture, or RGBA where it has transparency.

    Of an animation the first frame is taken; 16-bit grey is scaled to 8 bits; EXIF orientation is applied.

    Args:
        content: the bytes.
        max_pixels: refuse more than these, before anything is unpacked; Pillow's own limit holds besides.

    Raises:
        InputInvalid: the bytes are no such picture, are cut short, or would unpack to more than is allowed or safe.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which a readable picture may have
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP", "GIF")) as picture:
                if max_pixels is not None and picture.width * picture.height > max_pixels:
                    raise InputInvalid(f"has {picture.width:,} x {picture.height:,} pixels; {max_pixels:,} may be used")
                picture.load()
                return _eight_bit(ImageOps.exif_transpose(picture))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputInvalid(f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller") from error
    except UnidentifiedImageError as error:
        raise InputInvalid("not a JPEG, PNG, WebP or GIF picture") from error
    except _UNDECODABLE as error:
        raise InputInvalid(f"does not decode: {' '.join(str(error).split())}") from error


def read_picture(path: Path) -> Image.Image:
    """Read one picture file; see `decode`.

    Raises:
        InputInvalid: the file is not there or is not a picture.
    """
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise InputInvalid(f"{path}: {error.strerror}") from error
    except InputInvalid as error:
        raise InputInvalid(f"{path}: {error}") from error


class Pictures:
    """A table of pictures and the folder that its paths start from."""

    def __init__(self, root: Path, table: pd.DataFrame) -> None:
        """Join `root` and `table` (COLUMNS)."""
        self.root = root
        columns: list[list[Any]] = [table[name].tolist() for name in ("picture_id", "path", "offset", "length")]
        self._at: dict[str, tuple[str, int, int]] = {
            picture_id: (path, offset, length) for picture_id, path, offset, length in zip(*columns, strict=True)
        }

    def path(self, picture_id: str) -> Path:
        """The file (or tar) that holds a picture."""
        return self.root / self._at[picture_id][0]

    def read_bytes(self, picture_id: str) -> bytes:
        """Read a picture's bytes.

        Raises:
            InputInvalid: its file is no longer there, or the table names one outside the pictures' root.
        """
        name, offset, length = self._at[picture_id]
        path = self.path(picture_id)
        if not stays_inside(name):
            raise InputInvalid(f"the picture {picture_id} lies outside {self.root}; build the index again")
        try:
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(length)
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
            raise InputInvalid(f"{picture_id} in {self.path(picture_id)}: {error}") from error


def loose_pictures(root: Path) -> Iterator[Path]:
    """Picture files under `root` in a fixed order, by their suffix; hidden files and folders are left out.

    Raises:
        InputInvalid: `root` or a folder under it cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise InputInvalid(f"cannot read the folder {error.filename}: {error.strerror}") from error

    for folder, below, files in os.walk(root, onerror=refuse):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(folder, name)


def tabulate(root: Path, places: Mapping[str, tuple[Path, int, int]]) -> pd.DataFrame:
    """The table of pictures under `root` of which id, file, offset and length are known; reads every byte.

    The id is also the name.
    """
    rows = []
    for picture_id, (path, offset, length) in places.items():
        with path.open("rb") as file:
            file.seek(offset)
            digest = hashlib.sha256(file.read(length)).hexdigest()
        rows.append((picture_id, picture_id, path.relative_to(root).as_posix(), offset, length, digest))
    return pd.DataFrame(rows, columns=COLUMNS)


def _eight_bit(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion clips it to white
        picture = Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8))
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
