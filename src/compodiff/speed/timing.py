"""CPU seconds of peers on one thread, taken in turns, so that whatever else the machine does meets all alike."""

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from compodiff.machine import read_processor
from compodiff.model.inference import PackedLinear, can_pack
from compodiff.precision import DTYPES, Precision, choose_precision

GEMM_SHAPE = 768, 3072, 768
READ_BYTES = 2**28


def measure_medians(peers: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median CPU seconds of each peer over `repeats` rounds, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for turn in tqdm(range(repeats + 1), desc=" / ".join(peers), leave=False, disable=None):
        for name, peer in peers.items():
            start = time.process_time()
            peer()
            if turn:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Yield one thread inside, as many as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def describe_machine() -> dict[str, Any]:
    """Return the processor, the versions, and what one thread can do at most: multiplications and reading."""
    return {
        "processor": read_processor().name,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gemm_gflops": {name: _measure_gemm_gflops(DTYPES[name]) for name in list_worthwhile_precisions()},
        "read_gb_per_second": _read_gb_per_second(),
    }


def list_worthwhile_precisions() -> tuple[Precision, ...]:
    """Return float32, and bfloat16 where this processor multiplies it: emulated, a benchmark of it takes hours."""
    fastest = choose_precision("auto", torch.device("cpu"))
    return ("float32",) if fastest == "float32" else ("float32", fastest)


def _measure_gemm_gflops(dtype: torch.dtype) -> float:
    rows, width_in, width_out = GEMM_SHAPE
    x, plain = torch.randn(rows, width_in).to(dtype), nn.Linear(width_in, width_out, bias=False).to(dtype)
    linear = PackedLinear(plain, keep_weight=False) if can_pack(dtype) else plain
    seconds = measure_medians({"gemm": lambda: [linear(x) for _ in range(20)]}, 5)
    return round(20 * 2 * rows * width_in * width_out / seconds["gemm"] / 1e9, 1)


def _read_gb_per_second() -> float:
    numbers = torch.ones(READ_BYTES // 4)
    return round(READ_BYTES / measure_medians({"read": numbers.sum}, 5)["read"] / 1e9, 1)
