"""Where networks run, and which precision is fastest there: measured in milliseconds, not read off a flag.

A processor without bfloat16 instructions still computes in it, by emulation, in 2 to 50 times the time of float32; and
a flag of the processor says nothing of a library that was told not to use it.
"""

import logging
import os
import re
import time
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

from compodiff.machine import has_nvidia_gpu

Precision = Literal["float32", "bfloat16"]
AskedPrecision = Literal["auto", "float32", "bfloat16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Large enough that the product and not the call is timed, small enough for milliseconds where it is emulated.
ROWS, WIDTH_IN, WIDTH_OUT = 256, 256, 512
ROUNDS = 5
HOPELESS = 4  # times the seconds of float32: no further round would change the answer
# Teraflops of dense bfloat16 products by a part of the GPU's name, of the makers' data sheets; the first match counts.
PEAKS = {
    "B200": 2250.0,
    "H200": 989.4,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.4,
    "A100": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "A10G": 70.0,
    "A10": 125.0,
}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SelfCheck:
    """Seconds of a linear layer, forward and backward, in both precisions."""

    float32: float
    bfloat16: float

    @property
    def ratio(self) -> float:
        """How many times as long bfloat16 takes as float32."""
        return self.bfloat16 / self.float32

    @property
    def fastest(self) -> Precision:
        """The precision to compute in."""
        return "bfloat16" if self.ratio < 1 else "float32"


def choose_device() -> torch.device:
    """Return where networks run in this process: the GPU where there is one, of several the first.

    The processes of a training that share a machine have one each (training/engine.py).
    """
    if (fault := explain_missing_gpu()) is not None:
        log.warning("%s; everything runs on the processor", fault)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def explain_missing_gpu() -> str | None:
    """Say in one line why torch cannot use the NVIDIA GPU that is in this machine; None where it can, or none is."""
    if torch.cuda.is_available() or not has_nvidia_gpu() or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        reason = "torch says no more"
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split(". ")[0].split())
    return f"this machine has an NVIDIA GPU that torch {torch.__version__} cannot use ({reason})"


def name_device(device: torch.device) -> str:
    """Return the name of a GPU, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def find_peak(device: torch.device) -> float | None:
    """Return the floating-point operations a second of `device` in bfloat16, of its data sheet; None if unknown."""
    name = name_device(device)
    known = (teraflops for part, teraflops in PEAKS.items() if re.search(rf"{part}(?!\d)", name))  # an A1000 is no A100
    peak = next(known, None)
    return None if peak is None else peak * 1e12


def choose_precision(asked: AskedPrecision, device: torch.device) -> Precision:
    """Return the precision that was asked for; for auto, the one that `device` multiplies fastest.

    Where bfloat16 is asked for by name and only emulated, one line of the process's log says how much slower it is.
    """
    if asked == "float32":
        return asked
    check = measure_precisions(device.type)
    if asked == "bfloat16" and check.fastest != asked:
        _warn_of_emulation(round(check.ratio, 1))
    return check.fastest if asked == "auto" else asked


def describe_choice(asked: AskedPrecision, device: torch.device) -> str:
    """Say which precision is chosen for `device`, and why, on one line."""
    chosen = choose_precision(asked, device)
    if asked != "auto":
        return f"{chosen}, as params.yaml says"
    ratio = measure_precisions(device.type).ratio
    return f"{chosen}: a product in bfloat16 takes {ratio:.2g} x the time of one in float32 here"


@cache
def measure_precisions(device: str) -> SelfCheck:
    """Time the linear layer on "cpu" or "cuda", the rounds of both precisions in turns; the shortest of each counts."""
    best = dict.fromkeys(DTYPES, float("inf"))
    for _ in range(ROUNDS):
        for name, dtype in DTYPES.items():
            best[name] = min(best[name], _time_training_step(device, dtype))
        if best["bfloat16"] > HOPELESS * best["float32"]:
            break
    return SelfCheck(**best)


def _time_training_step(device: str, dtype: torch.dtype) -> float:
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(mode=False), torch.enable_grad():  # whatever the caller is in
        x, weight = (
            torch.randn(rows, WIDTH_IN, generator=generator).to(device, dtype).requires_grad_()
            for rows in (ROWS, WIDTH_OUT)
        )
        _wait_for(device)
        # This thread's own seconds on a CPU: neither the machine's other work nor other threads count.
        clock = time.perf_counter if device == "cuda" else time.thread_time
        start = clock()
        torch.autograd.backward(torch.nn.functional.linear(x, weight).sum())
        _wait_for(device)
        return clock() - start


def _wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


@cache
def _warn_of_emulation(ratio: float) -> None:
    log.warning(
        "bfloat16 is emulated here and takes %g x the time of float32; precision: auto in params.yaml takes the faster",
        ratio,
    )
