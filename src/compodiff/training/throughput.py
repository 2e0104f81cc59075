"""Rows a second, and the share of the GPU's peak that the network's products reach (MFU)."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch

from compodiff.precision import find_peak

Result = TypeVar("Result")


class Throughput:
    """What a training gets done, validation and checkpoints left out.

    The operations of one step are counted once, where the device's peak is known; what a step costs beside products
    (attention over few keys, norms, the optimizer) does not count, as is usual for MFU.
    """

    def __init__(self, device: torch.device, devices: int, rows_per_step: int) -> None:
        """Begin to count.

        Args:
            device: that computes.
            devices: that compute together.
            rows_per_step: of all of them.
        """
        self._peak, self._devices, self._rows_per_step = find_peak(device), devices, rows_per_step
        self._operations = 0.0  # of one step, on one device
        self.restart()

    def restart(self) -> None:
        """Leave out what was before."""
        self._steps, self._started = 0, time.perf_counter()

    def watch(self, add_gradients: Callable[[], Result]) -> Result:
        """Return add_gradients() of one step; the first time, its operations are counted where they are of use."""
        if self._peak is None or self._operations:
            return add_gradients()
        result, self._operations = count_operations(add_gradients)
        return result

    def add_step(self) -> None:
        """Note that a step is done."""
        self._steps += 1

    @property
    def rows_per_second(self) -> float:
        """Of all devices together."""
        return self._steps * self._rows_per_step / (time.perf_counter() - self._started)

    def list_metrics(self) -> dict[str, float]:
        """Return the share of the peak, where that is known, under the name mfu."""
        if self._peak is None:
            return {}
        return {"mfu": self._operations * self._steps / (time.perf_counter() - self._started) / self._peak}


def count_operations(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return work(), and the floating-point operations of the products that it took, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode  # which warns where Triton is not installed

    with FlopCounterMode(display=False) as counter:
        result = work()
    return result, float(counter.get_total_flops())
