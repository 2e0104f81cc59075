"""Inverted lists of codes, by FAISS: learned on a sample, filled shard by shard, merged, searched where they lie.

Shapes: N vectors, D their width, B queries, k results.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from compodiff.errors import InputInvalid
from compodiff.index.exact import NearestSoFar, pays
from compodiff.index.gpus import copy_to_gpus
from compodiff.index.nearest import NO_PICTURE, Floats, Rows, compare_all, normalise
from compodiff.index.segments.vectors import StoredVectors

LISTS = "lists.faiss"
_CODES = {"ivf_rabitq": "RaBitQ", "ivf_sq8": "SQ8", "ivf_fp16": "SQfp16"}
KINDS = tuple(_CODES)
RABITQ_BITS = 256  # of a vector at least: a bit for each of 64 dimensions tells too few vectors apart
PER_LIST = 50  # vectors of the sample for each list; FAISS asks for 39 at least

_ROUNDS = 10  # of k-means


def choose_lists(count: int) -> int:
    """Return how many inverted lists divide `count` vectors well: a power of two near its square root."""
    return int(2 ** max(0, round(np.log2(1.3 * np.sqrt(count)))))


def train(kind: str, lists: int, sample: NDArray[np.float32], to: Path) -> None:
    """Learn lists and codes from a sample (N, D), on GPUs where FAISS has some, and write them as `to`.

    Raises:
        InputInvalid: the sample is smaller than the number of lists, or holds a value that is not finite.
    """
    if len(sample) < lists:
        raise InputInvalid(f"{lists} lists need as many vectors, there are {len(sample)}; give fewer: --lists")
    width = sample.shape[1]
    index: Any = faiss.index_factory(width, f"IVF{lists},{_name_codes(kind, width)}", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.min_points_per_centroid = _ROUNDS, 1
    if (on_gpus := copy_to_gpus(index.quantizer)) is not None:
        index.clustering_index = on_gpus
    index.train(normalise(sample))
    faiss.write_index(index, str(to))


def fill(trained: Path, chunks: Iterable[NDArray[Any]], first: int, to: Path) -> None:
    """Write the codes of a shard's vectors, (n, D) a chunk, numbered from `first`, as `to`.

    Raises:
        InputInvalid: one holds a value that is not finite.
    """
    index: Any = faiss.read_index(str(trained))
    finder = copy_to_gpus(index.quantizer) or index.quantizer
    for chunk in chunks:
        unit = normalise(chunk)
        ids = np.arange(first, first + len(unit))
        _, lists = finder.search(unit, 1)
        pointers = [faiss.swig_ptr(array) for array in (unit, ids, np.ascontiguousarray(lists))]
        index.add_core(len(unit), *pointers)
        first += len(unit)
    faiss.write_index(index, str(to))


def merge(trained: Path, blocks: Sequence[Path], to: Path) -> None:
    """Join the codes of shards into the lists of one segment; in memory are its codes, not its vectors."""
    index: Any = faiss.read_index(str(trained))
    for block in blocks:
        index.merge_from(faiss.read_index(str(block)), 0)
    faiss.write_index(index, str(to))


class MappedLists:
    """The lists of one segment, memory-mapped."""

    def __init__(self, folder: Path, probes: int = 1) -> None:
        """Open them, to visit so many for a query.

        Raises:
            RuntimeError: FAISS's own; they cannot be read.
        """
        index: Any = faiss.read_index(str(folder / LISTS), faiss.IO_FLAG_MMAP)
        index.nprobe = min(probes, index.nlist)
        self.index = index

    @property
    def shape(self) -> tuple[int, int]:
        """How many vectors there are, and how wide."""
        return int(self.index.ntotal), int(self.index.d)

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return int(self.index.nlist)

    def search(self, unit: Floats, k: int, bits: NDArray[np.uint8] | None) -> tuple[Floats, Rows]:
        """Return the k nearest of those whose bit is set, all with None: estimated cosines and rows, (B, k) each."""
        settings: dict[str, Any] = {"nprobe": self.index.nprobe}
        if bits is not None:
            select: Any = faiss.IDSelectorBitmap
            settings["sel"] = select(bits)
        scores, rows = self.index.search(unit, k, params=faiss.SearchParametersIVF(**settings))
        return scores, rows


def find_exactly(unit: Floats, vectors: StoredVectors, k: int) -> Rows:
    """Return the k rows (B, k) nearest to each query, by comparing all vectors."""
    if pays(len(unit), len(vectors), k):
        nearest = NearestSoFar(unit, k)
        for first, chunk in vectors.iterate():
            nearest.add(first, normalise(chunk))
        return nearest.get()[1]
    heap: Any = faiss.ResultHeap(len(unit), k, keep_max=True)
    for first, chunk in vectors.iterate():
        scores, rows = compare_all(unit, normalise(chunk), min(k, len(chunk)))
        heap.add_result(scores, np.where(rows == NO_PICTURE, NO_PICTURE, rows + first))
    heap.finalize()
    found: Rows = heap.I
    return found


def _name_codes(kind: str, width: int) -> str:
    """Return the codes as FAISS's factory names them; RaBitQ takes more bits a dimension where there are few."""
    bits = min(8, -(-RABITQ_BITS // width))
    return f"{_CODES[kind]}{bits}" if kind == "ivf_rabitq" and bits > 1 else _CODES[kind]
