"""Rows from all over an array that may be larger than memory: the disk is asked for many of them at once."""

import mmap
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_READERS = 16  # threads, which wait for the disk most of the time
_LEAST = 64  # rows of a thread


def expect_scattered(mapped: NDArray[Any]) -> None:
    """Tell the system that rows of a mapped array are read in no order: what lies beside them is not read as well."""
    advice = getattr(mmap, "MADV_RANDOM", None)
    if advice is not None and isinstance(mapped.base, mmap.mmap):
        mapped.base.madvise(advice)


def read_scattered(mapped: NDArray[np.float16], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return rows of an array. mapped: (N, D); rows: (n,) -> (n, D)."""
    read = np.empty((len(rows), mapped.shape[1]), np.float32)
    size = max(_LEAST, -(-len(rows) // _READERS))

    def read_part(start: int) -> None:
        read[start : start + size] = mapped[rows[start : start + size]]

    for _ in _start_readers().map(read_part, range(0, len(rows), size)):
        pass
    return read


@cache
def _start_readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_READERS, "reads-arrays")
