"""Near-duplicates: the same picture saved again, smaller, or in another format.

Embeddings that are near are a hint only, as two clock faces have near ones, too. Both pictures must look alike in every
cell of a coarse grid.

Shapes: N pictures, F of them new, D embedding width.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Looks = NDArray[np.uint8]

LOOK_SIDE = 16  # cells
LOOK_SHAPE = (LOOK_SIDE, LOOK_SIDE, 3)
_ALIKE = 24  # of 255: compression and another size change a cell by less, another picture at least one cell by more
_AT_ONCE = 512  # new pictures compared with all others at a time


def look(picture: Image.Image) -> Looks:
    """A picture's colours in a coarse grid, (16, 16, 3)."""
    rgba = picture.convert("RGBA")
    opaque = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    small = opaque.resize((LOOK_SIDE, LOOK_SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.uint8)


def grouped(embeddings: Floats, looks: Looks, known: Sequence[int], least_cosine: float) -> list[int]:
    """Which pictures are near-duplicates of each other.

    Args:
        embeddings: (N, D).
        looks: (N, 16, 16, 3).
        known: groups of the first pictures, from an earlier call over them; only the others are compared.
        least_cosine: of two near-duplicates.

    Returns:
        N groups: the row of the first picture of each one's group.
    """
    leader = list(range(len(embeddings)))
    for row, group in enumerate(known):
        leader[row] = group
    for one, other in _pairs(embeddings, looks, len(known), least_cosine):
        first, second = sorted((_leader(leader, one), _leader(leader, other)))
        leader[second] = first
    return [_leader(leader, row) for row in range(len(leader))]


def _leader(leader: Sequence[int], row: int) -> int:
    while leader[row] != row:
        row = leader[row]
    return row


def _pairs(embeddings: Floats, looks: Looks, start: int, least_cosine: float) -> Iterator[tuple[int, int]]:
    """Pairs of a picture from `start` on and one before it."""
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    for first in range(start, len(unit), _AT_ONCE):
        rows = np.arange(first, min(first + _AT_ONCE, len(unit)))
        near = np.argwhere(unit[rows] @ unit[: rows[-1] + 1].T >= least_cosine)
        for place, other in near:
            row = int(rows[place])
            if other < row and _alike(looks[row], looks[other]):
                yield row, int(other)


def _alike(one: Looks, other: Looks) -> bool:
    return bool(np.abs(one.astype(np.int16) - other.astype(np.int16)).max() <= _ALIKE)
