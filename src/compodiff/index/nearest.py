"""Which rows of a gallery lie nearest to a query's vector: one interface, and FAISS behind it in a file.

Shapes: N pictures, D embedding width, B queries, k results.
"""

from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from compodiff.errors import InputInvalid
from compodiff.machine import is_on_network

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

NO_PICTURE = -1  # the row of a result that is not there: fewer than k pictures were found


class Nearest(Protocol):
    """Vectors of unit length by row number, searched by inner product; safe to use from many threads."""

    @property
    def size(self) -> int:
        """How many rows there are, those that were taken out with them."""
        ...

    def search(self, unit: Floats, k: int, allowed: Rows | None) -> tuple[Floats, Rows]:
        """Return the rows nearest to each query, best first.

        Args:
            unit: (B, D) of unit length.
            k: how many rows a query gets.
            allowed: rows that may be found, ascending; None for all.

        Returns:
            Cosines (B, k), or what stands for them before exact scoring, and rows (B, k), NO_PICTURE where fewer were
            found.
        """
        ...


class FaissFile:
    """One file of FAISS's."""

    def __init__(self, path: Path, kind: str) -> None:
        """Open it, memory-mapped; whole in memory where it lies on a network.

        Raises:
            RuntimeError: FAISS's own; it cannot be read.
        """
        # Only flat storage can be used where it lies; inverted lists are mapped list by list.
        mapped = faiss.IO_FLAG_MMAP_IFC if kind == "flat" else faiss.IO_FLAG_MMAP
        flags = 0 if is_on_network(path.parent) else mapped
        self._index: Any = faiss.read_index(str(path), flags)
        self._is_flat = kind == "flat"

    @property
    def size(self) -> int:
        """How many vectors there are."""
        return int(self._index.ntotal)

    @property
    def width(self) -> int:
        """How wide they are."""
        return int(self._index.d)

    def search(self, unit: Floats, k: int, allowed: Rows | None) -> tuple[Floats, Rows]:
        """Return the rows nearest to each query (see `Nearest`)."""
        from compodiff.index.exact import NearestSoFar, pays

        if self._is_flat and allowed is None and pays(len(unit), self.size, k):
            nearest = NearestSoFar(unit, k)
            nearest.add(0, faiss.rev_swig_ptr(self._index.get_xb(), self.size * self.width).reshape(-1, self.width))
            return nearest.get()
        scores, rows = self._index.search(unit, k, params=self._select_rows(allowed))
        return scores, rows

    def _select_rows(self, allowed: Rows | None) -> Any:
        """Return what tells FAISS to look at some rows only."""
        if allowed is None:
            return None
        settings: dict[str, Any] = {"sel": faiss.IDSelectorBatch(allowed)}
        if self._is_flat:
            return faiss.SearchParameters(**settings)
        settings["nprobe"] = self._index.nprobe
        return faiss.SearchParametersIVF(**settings)


def compare_all(unit: Floats, vectors: Floats, k: int) -> tuple[Floats, Rows]:
    """Return scores and rows (B, k) of the vectors (N, D) nearest to each query, all products by FAISS."""
    scores, rows = faiss.knn(unit, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, rows


def normalise(vectors: NDArray[np.floating[Any]]) -> Floats:
    """Return vectors (B, D) of length 1, contiguous float32; a zero vector stays zero.

    Raises:
        InputInvalid: a value is not finite.
    """
    unit = np.array(vectors, dtype=np.float32, order="C")
    if not np.isfinite(unit).all():
        raise InputInvalid("an embedding holds a value that is not finite; its picture or text cannot be used")
    faiss.normalize_L2(unit)
    return unit
