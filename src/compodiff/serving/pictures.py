"""A picture of the index as bytes for a browser: as it is, or small."""

import io
import threading
from dataclasses import dataclass
from enum import IntEnum

from cachetools import LRUCache
from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.images import PictureTable
from compodiff.serving.champion import ServedModel
from compodiff.serving.emoji_drawings import draw_sharp
from compodiff.storage.digests import digest_bytes


class ThumbnailEdge(IntEnum):
    """Longer edge of a thumbnail, pixels."""

    SMALL = 160
    MIDDLE = 320
    LARGE = 640


_KEPT = 64 * 2**20  # bytes of thumbnails
_AS_IT_IS = 200  # pixels
_TYPES = (
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"GIF8", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
)


@dataclass(frozen=True)
class ServedPicture:
    """Bytes that a browser shows."""

    content: bytes
    media_type: str
    etag: str


def read_original(live: ServedModel, picture_id: str) -> ServedPicture:
    """Return a picture's own bytes.

    Raises:
        InputInvalid: it is no longer there, lies outside the folder that is served, or is none that browsers show.
    """
    content = live.searcher.pictures.read_bytes(picture_id)
    for magic, at, media_type in _TYPES:
        if content[at : at + len(magic)] == magic:
            return ServedPicture(content, media_type, _make_etag(live, picture_id, 0))
    raise InputInvalid(
        f"{picture_id} is no JPEG, PNG, WebP or GIF, which every browser shows; /thumbnails has a copy of other kinds"
    )


class Thumbnails:
    """Small pictures, made when first asked for; those asked for last are kept."""

    def __init__(self) -> None:
        self._kept: LRUCache[str, ServedPicture] = LRUCache(_KEPT, lambda shown: len(shown.content))
        self._alone = threading.Lock()
        # A decoded photograph takes a hundred megabytes; a grid of results asks for dozens at once.
        self._decoding = threading.BoundedSemaphore(2)

    def get(self, live: ServedModel, picture_id: str, edge: int) -> ServedPicture:
        """Return the picture with its longer edge at most `edge` pixels, as WebP.

        Raises:
            InputInvalid: it cannot be read.
        """
        key = _make_etag(live, picture_id, edge)
        with self._alone:
            if key in self._kept:
                return self._kept[key]
        with self._decoding:
            shown = ServedPicture(_make_webp(live.searcher.pictures, picture_id, edge), "image/webp", key)
        if len(shown.content) <= _KEPT:
            with self._alone:
                self._kept[key] = shown
        return shown


def _make_webp(pictures: PictureTable, picture_id: str, edge: int) -> bytes:
    picture = pictures.read(picture_id)
    if edge > ThumbnailEdge.SMALL:
        picture = draw_sharp(picture_id, pictures.read_bytes(picture_id), edge) or picture
    is_small = max(picture.size) <= _AS_IT_IS  # an icon: nothing of it is lost, and its edges stay sharp
    picture.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=82, method=2, lossless=is_small)
    return stream.getvalue()


def _make_etag(live: ServedModel, picture_id: str, edge: int) -> str:
    """Make a tag of the content: a picture that changed has another."""
    index = live.searcher.index
    digest = index.read_text(index.row[picture_id], "sha256")
    if not digest:  # of vectors that were made elsewhere nobody has read the pictures
        digest = digest_bytes(f"{live.index_written} {picture_id}".encode())
    return f'"{digest[:32]}-{edge}"'
