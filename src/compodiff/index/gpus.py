"""What FAISS does on GPUs: it searches copies of indexes there, and cuVS builds CAGRA's graphs.

FAISS decides what goes there: one thread at a time, all rows, at most 2,048 results; flat indexes, lists of scalar
codes and of product codes, not of RaBitQ. Shapes: N vectors, D their width, B queries, k results.
"""

import logging
import os
from collections.abc import Sequence
from threading import Lock
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from compodiff.errors import InputInvalid, ResourceUnavailable

DEVICE = "COMPODIFF_INDEX_DEVICE"
GRAPH = "cagra"
_CPU, _GPU = "cpu", "gpu"
_MOST_RESULTS = 2048
log = logging.getLogger(__name__)

Found = tuple[NDArray[np.float32], NDArray[np.int64]]


class GpuCopies:
    """Copies of indexes on the GPUs, where COMPODIFF_INDEX_DEVICE asks for them; made when the first query comes.

    Where a card cannot hold or search one, that is said, and the processor searches all of them from then on.
    """

    def __init__(self, indexes: Sequence[Any]) -> None:
        """Take indexes of FAISS in memory, mapped or not.

        Raises:
            InputInvalid: the environment asks for a device that is none.
            ResourceUnavailable: it asks for a GPU, and FAISS has none.
        """
        self._indexes, self._copies = list(indexes) if _is_gpu_asked_for() else [], list[Any]()
        self._lock = Lock()  # FAISS bears one thread at a time on a GPU

    def search(self, number: int, unit: NDArray[np.float32], k: int) -> Found | None:
        """Return scores and rows (B, k) of one of the indexes for queries (B, D); None: the processor has to search."""
        if k > _MOST_RESULTS:
            return None
        with self._lock:
            if not self._indexes:
                return None
            try:
                self._copies = self._copies or [_copy(index) for index in self._indexes]
                scores, rows = self._copies[number].search(unit, k)
                return scores, rows
            except (RuntimeError, AttributeError) as error:
                _warn(error)
                self._indexes, self._copies = [], []
                return None


def count_gpus() -> int:
    """Return how many GPUs FAISS can use; none where it was built without, or where they have no driver."""
    try:
        return int(getattr(faiss, "get_num_gpus", lambda: 0)())
    except RuntimeError as error:
        _warn(error)
        return 0


def copy_to_gpus(index: Any) -> Any:
    """Return a copy of an index on all GPUs; None where FAISS has none, or they cannot hold it."""
    try:
        return _copy(index) if count_gpus() else None
    except (RuntimeError, AttributeError) as error:
        _warn(error)
        return None


def require_graphs() -> None:
    """Check that CAGRA's graphs can be built here.

    Raises:
        ResourceUnavailable: this FAISS has no CAGRA, or there is no GPU.
    """
    if not hasattr(faiss, "GpuIndexCagra"):
        raise ResourceUnavailable(
            f"the kind {GRAPH} is built by FAISS with cuVS, and this FAISS is without; install faiss-gpu-cuvs in its "
            "place, or name another --kind"
        )
    if not count_gpus():
        raise ResourceUnavailable(f"the kind {GRAPH} is built on a GPU, and FAISS finds none; name another --kind")


def build_graph(unit: NDArray[np.float32]) -> Any:
    """Return CAGRA's graph over unit vectors (N, D), built on the first GPU, as FAISS's HNSW, which processors search.

    Raises:
        ResourceUnavailable: it cannot be built here, or the GPU cannot hold it.
    """
    require_graphs()
    gpu: Any = faiss
    resources, settings, width = gpu.StandardGpuResources(), gpu.GpuIndexCagraConfig(), unit.shape[1]
    try:
        built = gpu.GpuIndexCagra(resources, width, faiss.METRIC_INNER_PRODUCT, settings)
        built.train(unit)
        graph = gpu.IndexHNSWCagra(width, settings.graph_degree // 2, faiss.METRIC_INNER_PRODUCT)
        built.copyTo(graph)
    except RuntimeError as error:
        raise ResourceUnavailable(
            f"the GPU cannot build a graph of {len(unit):,} vectors ({_shorten(error)}); name another --kind"
        ) from error
    return graph


def _is_gpu_asked_for() -> bool:
    asked = os.environ.get(DEVICE, _CPU)
    if asked not in (_CPU, _GPU):
        raise InputInvalid(f"{DEVICE} is {asked!r}; set it to {_CPU} or {_GPU}")
    if asked == _GPU and not count_gpus():
        raise ResourceUnavailable(
            f"{DEVICE} is {_GPU}, and this FAISS finds none; install faiss-gpu in place of faiss-cpu "
            f"(pip install 'compodiff[gpu]'), or set it to {_CPU}"
        )
    return asked == _GPU


def _copy(index: Any) -> Any:
    gpu: Any = faiss
    options = gpu.GpuMultipleClonerOptions()
    options.use_cuvs = False  # cuVS has no lists of scalar codes; FAISS's own kernels have
    return gpu.index_cpu_to_all_gpus(index, options)


def _warn(error: Exception) -> None:
    log.warning("the GPUs cannot be used (%s): the processor works alone", _shorten(error))


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
