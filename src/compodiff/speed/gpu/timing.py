"""Seconds of work on a device, and what the device can do at most."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

_PRODUCT = {"cuda": 8192, "cpu": 512}  # edge of the matrices that are multiplied
_COPIED = {"cuda": 2**30, "cpu": 2**24}  # bytes


@dataclass(frozen=True)
class Row:
    """A figure of the table: part, what of it, value and unit."""

    part: str
    what: str
    value: float | str
    unit: str = ""


def wait_for(device: torch.device) -> None:
    """Wait until `device` has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_seconds(work: Callable[[], object], device: torch.device, repeats: int, *, warm_ups: int = 2) -> float:
    """Return the median seconds of `work`, the device's own included."""
    seconds = []
    for turn in range(warm_ups + repeats):
        wait_for(device)
        start = time.perf_counter()
        work()
        wait_for(device)
        if turn >= warm_ups:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure_product(device: torch.device, dtype: torch.dtype, *, tf32: bool = False, repeats: int = 20) -> float:
    """Return the teraflops of a product of two large square matrices."""
    edge = _PRODUCT[device.type]
    with allow_tf32(tf32):
        one, other = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))
        seconds = measure_seconds(lambda: one @ other, device, repeats)
    return 2 * edge**3 / seconds / 1e12


class allow_tf32:
    """Let float32 products be rounded to TF32 inside, or not; as before afterwards."""

    def __init__(self, allowed: bool) -> None:
        self._allowed = allowed

    def __enter__(self) -> None:
        self._before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self._allowed

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self._before
