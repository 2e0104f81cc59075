"""What a picture's file, and a file of XMP beside it, say: their blocks of EXIF, XMP and IPTC.

Only headers are read. Metadata that cannot be read say nothing: no picture is refused for them.
"""

import os
import stat
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from PIL import Image
from PIL.IptcImagePlugin import getiptcinfo

from compodiff.errors import InputInvalid
from compodiff.images.decoding import UNDECODABLE
from compodiff.images.facts import PhotoFacts, sort_exif, sort_iptc, sort_xmp
from compodiff.images.kinds import HEAD, PNG, RAW, TIFF, detect_kind, open_kind
from compodiff.images.xmp import LARGEST_XMP, parse_xmp

_FAULTS = (*UNDECODABLE, MemoryError, InputInvalid)
_XMP_TAG = 700
_XMP_IN_PNG = b"XML:com.adobe.xmp\0\0"
_RAW_HEAD = 2**21  # bytes of an unprocessed picture that hold what its camera says


def read_facts(path: Path) -> PhotoFacts:
    """Read what a picture's file says; what cannot be read says nothing."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return PhotoFacts()
            return _read_opened(file)
    except _FAULTS:
        return PhotoFacts()


def read_sidecar(path: Path) -> PhotoFacts:
    """Read what an .xmp file beside a picture says of it; what cannot be read says nothing."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return PhotoFacts()
            return sort_xmp(parse_xmp(file.read(LARGEST_XMP + 1)))
    except _FAULTS:
        return PhotoFacts()


def _read_opened(file: IO[bytes]) -> PhotoFacts:
    kind = detect_kind(file.read(HEAD))
    file.seek(0)
    if kind is None or not kind.is_read:
        return PhotoFacts()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind is PNG:
            found, packet = _find_in_png(file)
            return _join(lambda: sort_exif(_parse_exif(found)), lambda: sort_xmp(parse_xmp(packet)))
        if kind is RAW:
            exif = _parse_exif(b"II*\0" + file.read(_RAW_HEAD)[4:])
            return _join(lambda: sort_exif(exif), lambda: sort_xmp(parse_xmp(_find_packet(exif))))
        with open_kind(kind, file) as picture:
            written = _find_packet(picture.getexif()) if kind is TIFF else picture.info.get("xmp", b"")
            return _join(
                lambda: sort_exif(picture.getexif()),
                lambda: sort_xmp(parse_xmp(written)),
                lambda: sort_iptc(getiptcinfo(picture) or {}),
            )


def _join(*sorts: Callable[[], PhotoFacts]) -> PhotoFacts:
    """Return what all say, the first first; a damaged block of one kind leaves the others."""
    facts = PhotoFacts()
    for sort in sorts:
        with suppress(*_FAULTS):
            facts = facts.complete(sort())
    return facts


def _find_in_png(file: IO[bytes]) -> tuple[bytes, bytes]:
    """Return EXIF and XMP of a PNG; both may stand behind its pixels."""
    found, place = {b"eXIf": b"", b"iTXt": b""}, 8
    while True:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return found[b"eXIf"], found[b"iTXt"]
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if name in found and length < LARGEST_XMP:
            content = file.read(length)
            if name == b"eXIf" or content.startswith(_XMP_IN_PNG):
                found[name] = content.removeprefix(_XMP_IN_PNG).lstrip(b"\0")
        place += 12 + length


def _parse_exif(content: bytes) -> Image.Exif:
    exif = Image.Exif()
    if content:
        exif.load(content)
    return exif


def _find_packet(exif: Image.Exif) -> bytes:
    packet = exif.get(_XMP_TAG)
    return bytes(packet) if isinstance(packet, bytes | tuple) else b""
