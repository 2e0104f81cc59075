"""How bytes become a picture. Every picture that this program reads passes through `decode`."""

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from compodiff.errors import InputInvalid
from compodiff.images import raw
from compodiff.images.kinds import HEAD, JPEG, NAMED, PNG, RAW, TIFF, detect_kind, open_kind

MAX_PIXELS = 89_478_485  # Pillow's own: more are decoded at a smaller scale
_HALVED = 2  # times as many pixels as may be used are unpacked and then made smaller: 0.7 GB at MAX_PIXELS
DIGEST_BYTES = 16  # of a picture's pixels
_SCALES = (1, 2, 4, 8)  # that a JPEG can be unpacked at
_FULL_SIZE = "full_size"

# What Pillow and the libraries behind it raise on bytes that are cut short or not what their header says.
UNDECODABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)


def decode(content: bytes, max_pixels: int | None = None, least_edge: int = 0) -> Image.Image:
    """Decode a picture of any kind (images/kinds.py), upright, as RGB, or RGBA where it has transparency.

    Of an animation the first frame is taken; 16 bits are scaled to 8; EXIF orientation is applied. A picture of more
    than `max_pixels` comes at a smaller scale; `read_full_size` says its own.

    Args:
        content: the bytes.
        max_pixels: the picture that is returned has at most these; MAX_PIXELS if not said. A JPEG may have 64 times as
            many, others twice as many.
        least_edge: a JPEG may come at a smaller scale, which is unpacked quicker, if each edge keeps so many pixels; 0
            for its own scale.

    Raises:
        InputInvalid: the bytes are no such picture, are cut short, or would unpack to more than is allowed or safe.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which a readable picture may have
            return _decode(content, MAX_PIXELS if max_pixels is None else max_pixels, least_edge)
    except MemoryError as error:
        raise InputInvalid("needs more memory than there is; make it smaller") from error
    except UNDECODABLE as error:
        raise InputInvalid(f"does not decode: {' '.join(str(error).split()) or type(error).__name__}") from error


def read_full_size(picture: Image.Image) -> tuple[int, int]:
    """Return the width and height of a decoded picture in its file, which may be more than it was unpacked to."""
    width, height = picture.info.get(_FULL_SIZE, picture.size)
    return width, height


def read_size(content: bytes) -> tuple[int, int]:
    """Read the width and height that `decode` would give a picture, out of its header; the first bytes may suffice.

    Raises:
        InputInvalid: the bytes hold no such header.
    """
    kind = detect_kind(content[:HEAD])
    if kind is None:
        raise InputInvalid(f"not a {NAMED} picture" if content else "is an empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_kind(kind, io.BytesIO(_strip_png(content) if kind is PNG else content)) as picture:
                width, height = picture.size
                return (height, width) if _read_orientation(picture) in _SIDEWAYS else (width, height)
    except UNDECODABLE as error:
        raise InputInvalid(f"does not decode: {' '.join(str(error).split()) or type(error).__name__}") from error


def paint_on_white(picture: Image.Image) -> Image.Image:
    """Flatten a picture with transparency on white; return RGB."""
    if picture.mode == "RGB":
        return picture
    rgba = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), rgba).convert("RGB")


def digest_pixels(picture: Image.Image) -> bytes:
    """Return 16 bytes that name a picture by its size and its pixels on white, whatever its file."""
    flat = paint_on_white(picture)
    return hashlib.blake2b(f"{flat.size}".encode() + flat.tobytes(), digest_size=DIGEST_BYTES).digest()


def _decode(content: bytes, most: int, least_edge: int) -> Image.Image:
    kind = detect_kind(content[:HEAD])
    if kind is None:
        raise InputInvalid(f"not a {NAMED} picture" if content else "is an empty file")
    if kind is RAW:
        return raw.develop(content, lambda preview: decode(preview, most, least_edge))
    with open_kind(kind, io.BytesIO(_strip_png(content) if kind is PNG else content)) as picture:
        if kind is TIFF and raw.is_raw(picture):
            return raw.develop(content, lambda preview: decode(preview, most, least_edge))
        size = picture.size
        if kind is JPEG:
            _set_draft(picture, content, most, least_edge)
        _require_few(picture.size, size, most)
        orientation = _read_orientation(picture)
        picture.load()
        if isinstance(picture, TiffImagePlugin.TiffImageFile):  # which Pillow turns by itself
            orientation, size = 1, picture.size
        flat = _shrink(_reduce_to_eight_bits(picture), most)
    upright = flat.transpose(_TURNS[orientation]) if orientation in _TURNS else flat
    whole = size[::-1] if orientation in _SIDEWAYS else size
    upright.info = {} if upright.size == whole else {_FULL_SIZE: whole}
    return upright


def _require_few(size: tuple[int, int], whole: tuple[int, int], most: int) -> None:
    """Refuse a picture that would unpack to too many pixels; `size` is what it is unpacked at."""
    if min(whole) < 1:
        raise InputInvalid(f"has {whole[0]} x {whole[1]} pixels")
    if size[0] * size[1] > _HALVED * most:
        raise InputInvalid(
            f"has {whole[0]:,} x {whole[1]:,} pixels; {_HALVED * most:,} may be used, "
            f"{_SCALES[-1] ** 2 * most:,} in a JPEG that is not progressive; make it smaller"
        )


def _set_draft(picture: ImageFile.ImageFile, content: bytes, most: int, least_edge: int) -> None:
    """Let Pillow unpack a JPEG at the largest scale that fits, or the smallest that is asked for.

    One with several scans is held whole at any scale, so that scale does not make it fit.
    """
    width, height = picture.size
    scale = 1
    if width * height > most and _is_one_scan(content):
        scale = next((each for each in _SCALES if -(-width // each) * -(-height // each) <= most), _SCALES[-1])
    if least_edge and width * height <= most * _SCALES[-1] ** 2:
        scale = max(each for each in _SCALES if each <= scale or min(width, height) // each >= least_edge)
    if scale > 1:
        picture.draft(None, (max(1, width // scale), max(1, height // scale)))


def _is_one_scan(content: bytes) -> bool:
    """Return whether the first scan of a JPEG holds all: it is neither progressive nor one colour after the other."""
    components, place = 0, 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker in (0xC0, 0xC1):
            components = content[place + 9] if place + 9 < len(content) else 0
        if marker == 0xDA:
            return components > 0 and content[place + 4 : place + 5] == bytes([components])
        place += 1 if marker == 0xFF else 2 + length
    return False


def _read_orientation(picture: ImageFile.ImageFile) -> int:
    """Return how a picture was held, 1 for upright; metadata that cannot be read say nothing."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except (*UNDECODABLE, MemoryError):
        return 1


def _reduce_to_eight_bits(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion clips it to white
        grey = np.asarray(picture).astype(np.int64)
        bits = max(8, int(grey.max(initial=0)).bit_length() - 8) if grey.max(initial=0) > 0xFFFF else 8
        picture = Image.fromarray((grey.clip(0) >> bits).astype(np.uint8))
    elif picture.mode == "F":
        picture = _convert_floats(np.asarray(picture))
    elif picture.mode == "La":
        picture = picture.convert("LA")
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


def _convert_floats(grey: Any) -> Image.Image:
    """Return grey as floats: up to 1, up to 255 or up to 65,535, or else whatever its greatest value is."""
    known = np.nan_to_num(grey, nan=0.0, posinf=0.0, neginf=0.0).clip(0)
    top = float(known.max(initial=0))
    white = next((white for white in (1.0, 255.0, 65_535.0) if top <= white), top)
    return Image.fromarray((known / white * 255).astype(np.uint8))


def _shrink(picture: Image.Image, most: int) -> Image.Image:
    """Return a copy of a picture, made smaller by a whole number where it has more than `most` pixels."""
    factor = 1
    while -(-picture.width // factor) * -(-picture.height // factor) > most:
        factor += 1
    return picture.reduce(factor) if factor > 1 else picture.copy()


def _strip_png(content: bytes) -> bytes:
    """Return a PNG without texts and colour profiles, of which Pillow refuses large and damaged ones."""
    return content[:8] + b"".join(_select_chunks(content))


def _select_chunks(content: bytes) -> Iterator[bytes]:
    place = 8
    while place < len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")  # length, name and check sum around data
        name = content[place + 4 : place + 8]
        is_orientation = name == b"eXIf" or content[place + 4 : place + 27] == b"iTXtXML:com.adobe.xmp\0\0"
        if not name or not name[0] & 0x20 or name == b"tRNS" or (is_orientation and end - place < 2**20):
            yield content[place:end]
        place = end
