"""Pictures that lie near and pictures of which the words are written, in one ranking: by reciprocal ranks.

A picture's place is decided by 1 / (60 + rank) among the nearest, and the same among those of which words are written,
times the share of the words that are (Cormack, Clarke and Büttcher, SIGIR 2009). So a picture that fits in both ways
comes first, and neither way needs to know how large the other's scores are.
"""

from collections.abc import Mapping

import numpy as np

from compodiff.index.index import Rows
from compodiff.search.words import WordMatch

BY_PICTURE = "picture"
FusedRow = tuple[int, float, tuple[str, ...]]  # row of the index, cosine, why it was found

_SMOOTHING = 60
_DEPTH = 200  # of the nearest that have ranks of their own where words are written; further ones share the next
_MATCHES = 5_000  # pictures of which words are written that are ranked; the best


class WrittenFusion:
    """What is written of the pictures, as one query weighs it; without matches the nearest stay as they are."""

    def __init__(self, matches: Mapping[int, WordMatch], weight: float = 1.0, allowed: Rows | None = None) -> None:
        """Take the pictures of which words are written, by row; only rows of `allowed` count, where it is given."""
        known = None if allowed is None or not matches else frozenset(allowed.tolist())
        self._matches = {row: match for row, match in matches.items() if known is None or row in known}
        self._weight = weight
        scores = sorted({match.score for match in self._matches.values()}, reverse=True)
        self._rank = {score: rank for rank, score in enumerate(scores, 1)}

    @property
    def rows(self) -> Rows:
        """The rows of which words are written, ascending; the best where there are very many."""
        best = sorted(self._matches, key=lambda row: -self._matches[row].score)[:_MATCHES]
        return np.array(sorted(best), dtype=np.int64)

    @property
    def depth(self) -> int:
        """How many of the nearest are to be ranked at least."""
        return _DEPTH if self._matches else 1

    def order(self, cosines: Mapping[int, float], k: int) -> list[FusedRow]:
        """Return rows, best first, with their cosines, and whether each is found by one of the nearest `k` or by words.

        Args:
            cosines: of the nearest rows and of `rows`.
            k: how many pictures are asked for.
        """
        nearest = sorted(cosines.items(), key=lambda found: -found[1])
        if not self._matches:
            return [(row, cosine, (BY_PICTURE,)) for row, cosine in nearest]
        fused = []
        for rank, (row, cosine) in enumerate(nearest, 1):
            match = self._matches.get(row)
            written = self._weight * match.share / (_SMOOTHING + self._rank[match.score]) if match else 0.0
            why = (*(match.places if match else ()), *((BY_PICTURE,) if rank <= k or not match else ()))
            # Beyond the depth a rank depends on `k`, the order of an answer must not: it is sorted stably.
            fused.append((1 / (_SMOOTHING + min(rank, _DEPTH + 1)) + written, (row, cosine, why)))
        return [found for _, found in sorted(fused, key=lambda each: -each[0])]
