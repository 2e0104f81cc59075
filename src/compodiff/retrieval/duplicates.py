"""Near-duplicates: the same picture saved again, smaller, or in another format.

Embeddings that are near are a hint only, as two clock faces have near ones, too. Both pictures must look alike in every
cell of a coarse grid.

Shapes: N pictures, D embedding width, P pairs.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Looks = NDArray[np.uint8]
Rows = NDArray[np.int64]

NEW = -1  # the group of a picture that has not been compared with the others
LOOK_SIDE = 16  # cells
LOOK_SHAPE = (LOOK_SIDE, LOOK_SIDE, 3)
_ALIKE = 24  # of 255: compression and another size change a cell by less, another picture at least one cell by more
_SPOTS = 4  # every fourth cell down and across is looked at first, and tells most pictures apart
_NEW_AT_ONCE, _OTHERS_AT_ONCE, _PAIRS_AT_ONCE = 512, 16_384, 65_536  # what is compared at a time


def look(picture: Image.Image) -> Looks:
    """A picture's colours in a coarse grid, (16, 16, 3)."""
    rgba = picture.convert("RGBA")
    opaque = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    small = opaque.resize((LOOK_SIDE, LOOK_SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.uint8)


def grouped(embeddings: Floats, looks: Looks, known: Rows, least_cosine: float) -> list[int]:
    """Which pictures are near-duplicates of each other.

    Args:
        embeddings: (N, D).
        looks: (N, 16, 16, 3).
        known: (N,) groups from an earlier call, as rows of their first pictures; those that are NEW are compared with
            all others, the others not with each other.
        least_cosine: of two near-duplicates.

    Returns:
        N groups: the row of the first picture of each one's group.
    """
    leader = np.where(known == NEW, np.arange(len(known)), known).tolist()
    for one, other in _pairs(embeddings, looks, known, least_cosine):
        first, second = sorted((_leader(leader, one), _leader(leader, other)))
        leader[second] = first
    return [_leader(leader, row) for row in range(len(leader))]


def _leader(leader: Sequence[int], row: int) -> int:
    while leader[row] != row:
        row = leader[row]
    return row


def _pairs(embeddings: Floats, looks: Looks, known: Rows, least_cosine: float) -> Iterator[tuple[int, int]]:
    """Pairs of near-duplicates, at least one of each NEW."""
    new = np.flatnonzero(known == NEW)
    if not len(new):
        return
    order = np.concatenate([np.flatnonzero(known != NEW), new])  # so that each is compared with those before it
    unit = embeddings[order]
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    for first in range(len(order) - len(new), len(order), _NEW_AT_ONCE):
        last = min(first + _NEW_AT_ONCE, len(order))
        for start in range(0, last, _OTHERS_AT_ONCE):
            near = unit[first:last] @ unit[start : min(start + _OTHERS_AT_ONCE, last)].T >= least_cosine
            ones, others = np.nonzero(near)
            before = others + start < ones + first
            ones, others = order[ones[before] + first], order[others[before] + start]
            for at in range(0, len(ones), _PAIRS_AT_ONCE):
                some = slice(at, at + _PAIRS_AT_ONCE)
                yield from _alike(looks, ones[some], others[some])


def _alike(looks: Looks, ones: Rows, others: Rows) -> Iterator[tuple[int, int]]:
    """Those of P pairs of rows whose pictures look alike."""
    for cells in (looks[:, ::_SPOTS, ::_SPOTS], looks):
        apart = np.abs(cells[ones].astype(np.int16) - cells[others]).max(axis=(1, 2, 3), initial=0)
        ones, others = ones[apart <= _ALIKE], others[apart <= _ALIKE]
    return zip(ones.tolist(), others.tolist(), strict=True)
