"""Vectors a second that find their list on GPUs, where a FAISS for GPUs is installed."""

import time
from collections.abc import Iterator

import numpy as np

from compodiff.index.gpus import count_gpus
from compodiff.index.segments.lists import choose_lists, fill, train
from compodiff.speed.gpu.timing import Row
from compodiff.storage.scratch import open_scratch


def measure_lists(name: str, count: int, width: int) -> Iterator[Row]:
    """Yield what learning and filling the lists of `count` vectors takes."""
    if not count_gpus():
        yield Row(name, "left out", "this FAISS is one for processors")
        return
    vectors = np.random.default_rng(17).standard_normal((count, width), np.float32)
    with open_scratch() as folder:
        trained, filled = folder / "trained", folder / "filled"
        start = time.perf_counter()
        train("ivf_sq8", choose_lists(count), vectors, trained)
        learned = time.perf_counter()
        fill(trained, [vectors], 0, filled)
        yield Row(name, f"lists of {count:,} vectors learned", learned - start, "s")
        yield Row(name, "lists filled", count / (time.perf_counter() - learned), "vectors/s")
