"""Vectors at one length, so that their products are cosines."""

import numpy as np
from numpy.typing import NDArray


def shorten_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors (N, D) at length 1; zeros stay."""
    unit: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit
