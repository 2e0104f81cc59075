"""Pictures packed into tar files whose bytes depend on their content alone, and read back by offset."""

import io
import struct
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from compodiff.errors import InputInvalid

# Everything that Pillow raises on bytes that are cut short or not what their header says.
_UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)


@dataclass(frozen=True)
class Extent:
    """Where a picture's PNG lies in its tar, bytes."""

    offset: int
    length: int


def pack_pictures(path: Path, pictures: Iterable[tuple[str, bytes]]) -> dict[str, Extent]:
    """Write `(picture_id, PNG bytes)` pairs, in the order given, to the tar `path`; return where each one lies.

    Owner, mode and time are fixed: equal pictures give equal bytes.
    """
    extents: dict[str, Extent] = {}
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for picture_id, png in pictures:
            entry = tarfile.TarInfo(f"{picture_id}.png")
            entry.size = len(png)
            entry.mode = 0o644
            extents[picture_id] = Extent(tar.offset + tarfile.BLOCKSIZE, len(png))
            tar.addfile(entry, io.BytesIO(png))
    return extents


def read_packed(tar: Path, picture_id: str, extent: Extent) -> bytes:
    """Read one picture's PNG bytes.

    Raises:
        InputInvalid: the tar is missing or ends before the picture does.
    """
    try:
        with tar.open("rb") as packed:
            packed.seek(extent.offset)
            png = packed.read(extent.length)
    except FileNotFoundError as error:
        raise InputInvalid(f"{tar} with picture {picture_id} is not there; run: compodiff data") from error
    if len(png) < extent.length:
        raise InputInvalid(
            f"{tar} is truncated: picture {picture_id} needs {extent.length} bytes at {extent.offset}, "
            f"{len(png)} are there; run: compodiff data"
        )
    return png


def decode_picture(png: bytes, name: str) -> Image.Image:
    """Decode PNG bytes to an RGBA picture.

    Raises:
        InputInvalid: they do not decode; the message says `name`.
    """
    try:
        with Image.open(io.BytesIO(png)) as picture:
            return picture.convert("RGBA")
    except _UNDECODABLE as error:
        raise InputInvalid(f"picture {name} does not decode ({error}); run: compodiff data") from error
