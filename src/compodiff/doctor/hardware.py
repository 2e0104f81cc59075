"""The machine: processor, threads, memory, disk, GPU, and the precision that follows from them."""

import os
import shutil
from pathlib import Path

from compodiff import machine
from compodiff.doctor.finding import Answer

GB = 1e9
# Measured: 2.3 GB in the largest process of `make run`; artifacts, DVC's cache and mlruns take 2 GB.
MEMORY_NEEDED_GB = 3
DISK_NEEDED_GB = 3


def judge_processor() -> Answer:
    """Name the processor, and say what it does with bfloat16."""
    found = machine.read_processor()
    hardware = "multiplies bfloat16 in hardware" if found.multiplies_bfloat16 else "emulates bfloat16"
    return "well", f"{found.name}; {hardware}"


def judge_threads() -> Answer:
    """Say how many cores may be used, and what limits them."""
    cores, everything = machine.count_usable_cores(), os.cpu_count() or 1
    limits = [f"{name}={os.environ[name]}" for name in ("OMP_NUM_THREADS", "COMPODIFF_WORKERS") if name in os.environ]
    text = f"{cores} of {everything} cores may be used" + (f"; {', '.join(limits)} is set" if limits else "")
    return "well", text


def judge_memory() -> Answer:
    """Say how much memory there is and is free."""
    found = machine.read_memory()
    text = f"{found.available / GB:.1f} of {found.total / GB:.1f} GB free"
    if found.available < MEMORY_NEEDED_GB * GB:
        return "note", f"{text}; make run needs {MEMORY_NEEDED_GB}", "end what takes memory before: make run"
    return "well", text


def judge_disk(place: Path) -> Answer:
    """Say how much of the disk is free that `place` is on."""
    free = shutil.disk_usage(place).free
    text = f"{free / GB:.1f} GB free"
    if free < DISK_NEEDED_GB * GB:
        return "fault", f"{text}; a first make run writes {DISK_NEEDED_GB}", "free some, or move the project"
    return "well", text


def judge_gpu() -> Answer:
    """Name the GPUs that torch can use, or say why it cannot use the one that there is."""
    import torch

    from compodiff.precision import explain_missing_gpu

    if (fault := explain_missing_gpu()) is not None:
        remedy = "install or update NVIDIA's driver, or a torch for the CUDA that it has"
        return "note", f"{fault}; everything runs on the processor", remedy
    if not torch.cuda.is_available():
        return "well", "none that torch can use; everything runs without"
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return "well", ", ".join(names)


def judge_precision(params: Path) -> Answer:
    """Say in which precision training computes here, and why: by the same self-check that training asks."""
    from compodiff.params import load_params
    from compodiff.precision import choose_device, describe_choice

    return "well", describe_choice(load_params(params).composed.precision, choose_device())
