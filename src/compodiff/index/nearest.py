"""Which rows of a gallery lie nearest to a query's vector: one interface, and FAISS behind it in a file.

Shapes: N pictures, D embedding width, B queries, k results.
"""

from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from compodiff.errors import InputInvalid
from compodiff.index.gpus import GRAPH, GpuCopies
from compodiff.machine import is_on_network

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

_EXPLORED = 128  # pictures of a graph that a query looks at, at least
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
            InputInvalid, ResourceUnavailable: see `GpuCopies`.
        """
        # Flat storage and graphs can be used where they lie; inverted lists are mapped list by list.
        mapped = faiss.IO_FLAG_MMAP_IFC if kind in ("flat", GRAPH) else faiss.IO_FLAG_MMAP
        flags = 0 if is_on_network(path.parent) else mapped
        self._index: Any = faiss.read_index(str(path), flags)
        self._kind = kind
        self._gpus = GpuCopies([] if kind == GRAPH else [self._index])

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

        if allowed is None and (found := self._gpus.search(0, unit, k)) is not None:
            return found
        if self._kind == "flat" and allowed is None and pays(len(unit), self.size, k):
            nearest = NearestSoFar(unit, k)
            nearest.add(0, faiss.rev_swig_ptr(self._index.get_xb(), self.size * self.width).reshape(-1, self.width))
            return nearest.get()
        scores, rows = self._index.search(unit, k, params=self._choose_settings(k, allowed))
        return scores, rows

    def _choose_settings(self, k: int, allowed: Rows | None) -> Any:
        """Return what tells FAISS to look at some rows only, and how far to look; None for what the index says."""
        settings: dict[str, Any] = {} if allowed is None else {"sel": faiss.IDSelectorBatch(allowed)}
        parameters: Any = faiss
        if self._kind == GRAPH:
            explored = max(_EXPLORED, 2 * k)
            if allowed is not None:  # those that are not allowed are on the way to the others
                explored = min(self.size, explored * self.size // len(allowed))
            return parameters.SearchParametersHNSW(efSearch=explored, **settings)
        if allowed is None:
            return None
        if self._kind == "flat":
            return parameters.SearchParameters(**settings)
        return parameters.SearchParametersIVF(nprobe=self._index.nprobe, **settings)


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
