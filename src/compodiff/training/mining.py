"""Hard negatives that are looked for: pictures that lie nearest to a target and are not it (arXiv 2412.14475).

Each target's are found once, when it is first drawn, among some thousand pictures of its set's triplets.
Legend: n targets, P pictures that are looked at, H negatives of a target, D embedding width.
"""

from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from compodiff.embeddings.lengths import shorten_rows
from compodiff.training.examples import NOTHING, TARGET, Rows, SetExamples

POOL = 16_384  # pictures of a set at most among which negatives are looked for
SAME = 1 - 1e-5  # cosine from which two pictures are one


@dataclass(frozen=True)
class NegativeMiner:
    """Finds negatives among the target pictures of one set's triplets.

    Attributes:
        examples: of the set.
        count: H.
    """

    examples: SetExamples
    count: int
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def find(self, targets: Rows) -> Rows:
        """Return the images (k,) that lie nearest to targets (n,), H for each where there are as many.

        Safe to use from many threads: on a GPU several read batches ahead.
        """
        with self._lock:
            missing = np.unique(targets[self._found[targets, 0] == NOTHING])
            if len(missing):
                self._found[missing] = self._search(missing)
            return np.unique(self._found[targets])

    def _search(self, images: Rows) -> Rows:
        """Return the negatives (n, H) of images (n,)."""
        pool, vectors = self._pool
        scores = shorten_rows(self.examples.embeddings.read_images(images)) @ vectors.T  # (n, P)
        scores[scores > SAME] = -np.inf
        return pool[np.argpartition(-scores, self._taken - 1, axis=1)[:, : self._taken]]

    @property
    def _taken(self) -> int:
        return min(self.count, len(self._pool[0]))

    @cached_property
    def _found(self) -> Rows:
        """(N, H) negatives of each image, NOTHING where it was not drawn yet."""
        return np.full((len(self.examples.embeddings.images), self._taken), NOTHING)

    @cached_property
    def _pool(self) -> tuple[Rows, NDArray[np.float32]]:
        """Pictures (P,) at equal distances among the targets, and their embeddings of length 1 (P, D)."""
        targets = np.unique(self.examples.open_table("triplet")[:, TARGET])
        some = targets[:: -(-len(targets) // POOL)]
        return some, shorten_rows(self.examples.embeddings.read_images(some))
