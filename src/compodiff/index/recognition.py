"""Whether an index holds a picture that is handed in: the same, or a near-duplicate by the rule of duplicates.py.

Shapes: D embedding width, L bytes of a look.
"""

import numpy as np
from numpy.typing import NDArray

from compodiff.errors import InputInvalid
from compodiff.images import PictureTable
from compodiff.images.looks import Looks, compute_look, look_the_same
from compodiff.index.index import NO_PICTURE, Index
from compodiff.index.previous import read_cosine, read_looks

_LEAST_COSINE = 0.9  # where the index does not say
_NEAREST, _NEAREST_READ = 64, 8  # pictures that are compared: by stored looks, or read for it


class Recognition:
    """Recognises pictures of one index."""

    def __init__(self, index: Index, pictures: PictureTable) -> None:
        """Open what the index knows of its pictures' looks; where it does not, `pictures` are read."""
        self._index, self._pictures = index, pictures
        self._looks = read_looks(index)
        stored = read_cosine(index)
        self._least = _LEAST_COSINE if stored is None else stored

    def find(self, seen: Looks, embedding: NDArray[np.float32]) -> tuple[str, ...]:
        """Return the ids of the pictures that look like one handed in, of the look `seen` (L,) and `embedding` (D,)."""
        nearest = _NEAREST_READ if self._looks is None else _NEAREST
        rows, cosines = self._index.search(embedding[None], nearest)
        near = rows[(rows != NO_PICTURE) & (cosines >= self._least)].tolist()
        looks = [(row, known) for row in near if (known := self._find_look(row)) is not None]
        if not looks:
            return ()
        pairs = np.array([(0, place) for place in range(len(looks))])
        same = look_the_same(seen[None], np.stack([known for _, known in looks]), pairs)
        return tuple(self._index.picture_ids[row] for (row, _), alike in zip(looks, same, strict=True) if alike)

    def _find_look(self, row: int) -> Looks | None:
        """Return how a picture of the index looks; None where its file is gone or no picture any more."""
        if self._looks is not None:
            return np.asarray(self._looks[row])
        try:
            return compute_look(self._pictures.read(self._index.picture_ids[row]))
        except InputInvalid:
            return None
