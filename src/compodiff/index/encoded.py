"""What has been encoded: by sha256 of a picture's bytes, put down batch by batch.

So neither a kill nor a moved or renamed file costs the work again.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compodiff.encoders import Encoder
from compodiff.images import decode, read_full_size
from compodiff.images.looks import LOOK_SHAPE, Looks, compute_look
from compodiff.index.index import Floats
from compodiff.index.previous import EarlierIndex
from compodiff.storage.arrays import open_archive
from compodiff.storage.atomic import replace_path

BATCH = 64  # pictures put down at a time
_AT_ONCE = 16  # pictures encoded; more leave the cache of a core: by 64 a picture takes twice as long
_SCALE = 3  # a JPEG is unpacked at three times the size that the encoder sees, at least

PreparedPicture = tuple[Tensor, Looks, tuple[int, int]]  # pixels (3, H, W), look (L,), width and height


@dataclass(frozen=True)
class EncodedPicture:
    """One encoded picture: its embedding (D,), its look (L,), and its width and height in pixels."""

    embedding: Floats
    look: Looks
    shape: tuple[int, int]


class EncodedPictures:
    """Parts of an earlier index, of a build that was killed, and those that are encoded now."""

    def __init__(
        self, folder: Path, earlier: EarlierIndex | None, encoder: Encoder, *, held: frozenset[str] = frozenset()
    ) -> None:
        """Collect what `encoder` has made: in the parts at `folder` and in an earlier index.

        Pictures whose bytes have a digest of `held` are somebody else's work.
        """
        identity = json.dumps([encoder.manifest.identify(), LOOK_SHAPE], sort_keys=True).encode()
        self._encoder = encoder
        self._folder = folder / hashlib.sha256(identity).hexdigest()[:16]
        self._known = _take_over(earlier) if earlier and earlier.has_encoder(encoder.manifest) else {}
        self._held = held
        self._pending: dict[str, PreparedPicture] = {}
        self.encoded = 0
        self._read_parts()

    def __contains__(self, sha256: str) -> bool:
        """Return whether the picture with these bytes is encoded, or about to be."""
        return sha256 in self._known or sha256 in self._pending or sha256 in self._held

    @property
    def digests(self) -> frozenset[str]:
        """Of the bytes of every picture that is encoded."""
        return frozenset(self._known)

    def read_what_others_encoded(self) -> None:
        """Take what others have put down meanwhile."""
        before = len(self._known)
        self._read_parts()
        self.encoded += len(self._known) - before

    def _read_parts(self) -> None:
        for part in sorted(self._folder.glob("*.npz")):
            with open_archive(part) as arrays:
                self._take(arrays)

    def prepare(self, content: bytes) -> PreparedPicture:
        """Decode a picture; safe to use from many threads.

        Raises:
            InputInvalid: it does not decode.
        """
        picture = decode(content, least_edge=_SCALE * self._encoder.manifest.picture.image_size)
        return self._encoder.preprocess(picture), compute_look(picture), read_full_size(picture)

    def add(self, sha256: str, picture: PreparedPicture) -> None:
        """Take a prepared picture; it is encoded with the next ones."""
        self._pending[sha256] = picture
        if len(self._pending) == BATCH:
            self.flush()

    def flush(self) -> None:
        """Encode what is pending and put it down."""
        if not self._pending:
            return
        pixels, looks, shapes = zip(*self._pending.values(), strict=True)
        arrays = {
            "sha256": np.array(list(self._pending)),
            "embeddings": encode_pixels(self._encoder, pixels).cpu().numpy(),
            "looks": np.stack(looks),
            "shapes": np.array(shapes, dtype=np.int32),
        }
        name = hashlib.sha256("".join(self._pending).encode()).hexdigest()[:16]
        with replace_path(self._folder / f"{name}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        self._take(arrays)
        self.encoded += len(self._pending)
        self._pending.clear()

    def gather(self, sha256: Sequence[str]) -> list[EncodedPicture]:
        """Return the pictures with these bytes, in their order."""
        return [self._known[digest] for digest in sha256]

    def _take(self, arrays: Any) -> None:
        columns = (arrays["sha256"].tolist(), arrays["embeddings"], arrays["looks"], arrays["shapes"].tolist())
        for digest, embedding, seen, (width, height) in zip(*columns, strict=True):
            self._known[digest] = EncodedPicture(embedding, seen, (width, height))


def encode_pixels(encoder: Encoder, pixels: Sequence[Tensor]) -> Tensor:
    """Encode preprocessed pictures, N times (3, H, W), as many at a time as is fastest -> (N, D)."""
    chunks = [torch.stack(list(pixels[at : at + _AT_ONCE])) for at in range(0, len(pixels), _AT_ONCE)]
    return torch.cat([encoder.encode_pixels(chunk) for chunk in chunks])


def stack(parts: Sequence[EncodedPicture], dim: int) -> tuple[Floats, NDArray[np.uint8]]:
    """Return embeddings (N, D) and looks (N, L)."""
    if not parts:
        return np.empty((0, dim), np.float32), np.empty((0, *LOOK_SHAPE), np.uint8)
    return np.stack([part.embedding for part in parts]), np.stack([part.look for part in parts])


def _take_over(earlier: EarlierIndex) -> dict[str, EncodedPicture]:
    table = earlier.index.pictures
    # A row of a memmap is a memmap, which takes ten times as long to make as one of an array.
    rows = (np.asarray(earlier.index.embeddings), np.asarray(earlier.looks))
    columns: tuple[Any, ...] = (table["sha256"], *rows, table["width"], table["height"])
    return {
        digest: EncodedPicture(embedding, seen, (int(width), int(height)))
        for digest, embedding, seen, width, height in zip(*columns, strict=True)
    }
