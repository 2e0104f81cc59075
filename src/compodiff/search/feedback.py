"""Feedback on pictures: an answer moves towards those that are called more like what is meant, and away from others.

Rocchio, "Relevance feedback in information retrieval", 1971. D embedding width.
"""

import numpy as np
from numpy.typing import NDArray

from compodiff.index.index import Index
from compodiff.search.query import Query

_STEP = 0.5  # length of the step towards `more`, and of that away from `less`


def find_shift(query: Query, index: Index) -> NDArray[np.float32] | None:
    """Return what moves an answer (D,) towards `more` and away from `less` of the query; None where it has neither."""
    shift = np.zeros(index.manifest.dim, dtype=np.float32)
    for ids, sign in ((query.more, 1), (query.less, -1)):
        liked = [index.read_embedding(each) for each in ids]
        shift += sign * _STEP * sum(each / np.linalg.norm(each) for each in liked) / max(1, len(liked))
    return shift if query.more or query.less else None


def move(vectors: NDArray[np.float32], shift: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Move each vector, (..., D), by `shift` (D,) times its own length."""
    return vectors if shift is None else vectors + np.linalg.norm(vectors, axis=-1, keepdims=True) * shift
