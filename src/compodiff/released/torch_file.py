"""Weights in torch's own format, a pickle, read as tensors and nothing else: no code that such a file holds is run.

torch's restricted reader builds tensors and plain containers itself and refuses every other name before it is looked
up. It is used here alone, for weights that were published in no other form: model folders of ours are safetensors.
"""

import re
import struct
import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from compodiff.errors import CheckpointMismatch

SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

_ASKED_FOR = re.compile(r"GLOBAL ([\w.]+)")
# What the readers of zip archives and pickles say of bytes that are none, or that were cut or changed.
_DAMAGE = (RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError, OverflowError, AssertionError)


def read_torch_file(path: Path) -> dict[str, Tensor]:
    """Read a state dict that torch wrote (either of its formats); the tensors share no memory with each other.

    Raises:
        CheckpointMismatch: the file holds something other than real tensors by name, such as code; or it is damaged.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of TorchScript, which is refused
            # Only archives can be mapped; the format before 2020 is read.
            mapped = zipfile.is_zipfile(path)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except UnpicklingError as error:
        asked_for = _ASKED_FOR.search(str(error))
        if asked_for is None:
            raise _make_damage_error(path) from error
        raise CheckpointMismatch(
            f"{path} asks for {asked_for[1]}, as a file that runs code does; nothing was run. Take the published file"
        ) from None
    except (*_DAMAGE, struct.error, MemoryError, zipfile.BadZipFile) as error:
        raise _make_damage_error(path) from error
    if not isinstance(content, dict) or not content:
        raise CheckpointMismatch(f"{path} holds a {type(content).__name__}, not tensors by name; take a state dict")
    return {str(name): _require_real(value, name, path) for name, value in content.items()}


def _require_real(value: object, name: object, path: Path) -> Tensor:
    """Return a copy of a tensor of real numbers."""
    if not isinstance(value, Tensor):
        raise CheckpointMismatch(f"{path} holds a {type(value).__name__} as {name!r}, not a tensor; take a state dict")
    if not value.is_floating_point() or value.layout != torch.strided or value.device.type != "cpu":
        raise CheckpointMismatch(
            f"{path}: {name!r} is {value.dtype} ({value.layout}, {value.device}), not real numbers"
        )
    return value.detach().clone(memory_format=torch.contiguous_format)


def _make_damage_error(path: Path) -> CheckpointMismatch:
    return CheckpointMismatch(
        f"{path} ({path.stat().st_size} bytes) is cut short or not torch's format; fetch it again"
    )
