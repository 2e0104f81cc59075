"""The kinds of pictures that are read. A file's kind is told by its first bytes, never by its name.

Only the plugins of Pillow that are named here run: none of them starts another program or runs what a file says (EPS
does), and a plugin that Pillow gains reads nothing until it is added here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import IO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    PsdImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from compodiff.errors import InputInvalid

HEAD = 64  # bytes that tell a kind
EXTRA = "pip install 'compodiff[photos]'"


class KindNotRead(InputInvalid):
    """A picture, whole for all we know, of a kind that is read only with an optional package."""

    def __init__(self, kind: "PictureKind") -> None:
        """Name the kind and the way out."""
        super().__init__(f"is {kind.name}, which is read after: {EXTRA}")
        self.kind = kind


@dataclass(frozen=True)
class PictureKind:
    """A kind of pictures.

    Attributes:
        name: for people.
        suffixes: of the names that such files have; of a file with another name the first bytes are looked at.
        package: the optional package that reads it; "" where Pillow does.
    """

    name: str
    suffixes: frozenset[str]
    package: str = ""

    @property
    def is_read(self) -> bool:
        """Whether it can be read here."""
        return _is_installed(self.package) if self.package else _FEATURES.get(self.name, True)


def _make_kind(name: str, suffixes: str, package: str = "") -> PictureKind:
    return PictureKind(name, frozenset(f".{suffix}" for suffix in suffixes.split()), package)


JPEG = _make_kind("JPEG", "jpg jpeg jpe jfif")
PNG = _make_kind("PNG", "png apng")
WEBP = _make_kind("WebP", "webp")
GIF = _make_kind("GIF", "gif")
BMP = _make_kind("BMP", "bmp dib")
TIFF = _make_kind("TIFF", "tif tiff")
JPEG2000 = _make_kind("JPEG 2000", "jp2 j2k jpx jpf j2c")
AVIF = _make_kind("AVIF", "avif")
PPM = _make_kind("PPM", "ppm pgm pbm pnm")
ICO = _make_kind("ICO", "ico")
PSD = _make_kind("Photoshop", "psd")
HEIF = _make_kind("HEIC", "heic heif hif", "pillow_heif")
RAW = _make_kind("RAW", "dng cr2 cr3 nef nrw arw srf sr2 orf rw2 raf pef srw 3fr iiq rwl", "rawpy")
KINDS = (JPEG, PNG, WEBP, GIF, BMP, TIFF, JPEG2000, AVIF, PPM, ICO, PSD, HEIF, RAW)
SUFFIXES = frozenset().union(*(kind.suffixes for kind in KINDS))
NAMED = "JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or JPEG 2000"  # in messages

_OPTIONAL = {WEBP: "webp", AVIF: "avif", JPEG2000: "jpg_2000"}  # that Pillow may have been built without
_FEATURES = {kind.name: bool(features.check(feature)) for kind, feature in _OPTIONAL.items()}
# JPEG without its factory: that also reads the further pictures (depth, a short film) which a phone puts behind the
# first, and fails where these are damaged.
_PLUGINS: dict[str, Callable[[IO[bytes]], ImageFile.ImageFile]] = {
    JPEG.name: JpegImagePlugin.JpegImageFile,
    PNG.name: PngImagePlugin.PngImageFile,
    WEBP.name: WebPImagePlugin.WebPImageFile,
    GIF.name: GifImagePlugin.GifImageFile,
    BMP.name: BmpImagePlugin.BmpImageFile,
    TIFF.name: TiffImagePlugin.TiffImageFile,
    JPEG2000.name: Jpeg2KImagePlugin.Jpeg2KImageFile,
    AVIF.name: AvifImagePlugin.AvifImageFile,
    PPM.name: PpmImagePlugin.PpmImageFile,
    ICO.name: IcoImagePlugin.IcoImageFile,
    PSD.name: PsdImagePlugin.PsdImageFile,
}
_HEADS = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"IIU\x00", RAW),
    (b"IIRO", RAW),
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"II*\x00\x10\x00\x00\x00CR", RAW),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"II+\x00", TIFF),
    (b"MM\x00+", TIFF),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", JPEG2000),
    (b"\xffO\xffQ", JPEG2000),
    (b"\0\0\1\0", ICO),
    (b"8BPS\0\1", PSD),
    *((b"P%d%c" % (number, space), PPM) for number in range(1, 7) for space in b" \n\r\t"),
)
_BRANDS = (
    ((b"avif", b"avis"), AVIF),
    ((b"crx ",), RAW),
    ((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), HEIF),
)


def detect_kind(head: bytes) -> PictureKind | None:
    """Tell a file's kind by its first HEAD bytes; None where it is no picture that could be read."""
    if head[:4] == b"RIFF":
        return WEBP if head[8:12] == b"WEBP" else None
    if head[4:8] == b"ftyp":
        end = min(len(head), int.from_bytes(head[:4], "big"))  # of the box that names the kinds
        named = [head[place : place + 4] for place in (8, *range(16, end, 4))]
        return next((kind for brands, kind in _BRANDS if any(name in brands for name in named)), None)
    return next((kind for magic, kind in _HEADS if head.startswith(magic)), None)


def is_surely_picture(head: bytes) -> bool:
    """Return whether a file is a picture by its first HEAD bytes alone; texts may begin as a PPM, a BMP or an ICO."""
    kind = detect_kind(head)
    if kind is BMP:
        return head[6:10] == bytes(4) and head[15:18] == bytes(3)
    if kind is ICO:
        return head[5:6] == b"\0" and head[9:10] == b"\0" and head[4] > 0
    return kind not in (None, PPM)


def open_kind(kind: PictureKind, stream: IO[bytes]) -> ImageFile.ImageFile:
    """Open a picture of a kind: its header is read, its pixels are not.

    Raises:
        KindNotRead: its optional package is not installed.
    """
    if not kind.is_read or kind is RAW:
        raise KindNotRead(kind)
    if kind is HEIF:
        from pillow_heif import HeifImageFile

        heif: ImageFile.ImageFile = HeifImageFile(stream)
        return heif
    return _PLUGINS[kind.name](stream)


def name_readable_kinds() -> str:
    """Name the kinds that are read here: what a file that was left out should be looked at again for."""
    return " ".join(kind.name for kind in KINDS if kind.is_read)


def find_kind(suffix: str) -> PictureKind | None:
    """Return the kind that names with a suffix (".nef") are of."""
    return next((kind for kind in KINDS if suffix in kind.suffixes), None)


@cache
def _is_installed(package: str) -> bool:
    return find_spec(package) is not None
