"""Digests of weights."""

import hashlib
from pathlib import Path

import safetensors.torch
from torch import nn

from compodiff.errors import InputInvalid
from compodiff.storage.digests import digest_bytes, digest_file


def digest_weights(model: nn.Module) -> str:
    """Return the sha256 that `model`'s weights have as a safetensors file."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    return hashlib.sha256(safetensors.torch.save(state)).hexdigest()


def digest_weight_files(folder: Path) -> str:
    """Return the sha256 of the weights in a folder: of its one file of safetensors, or of several one after the other.

    Raises:
        InputInvalid: the folder holds none.
    """
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise InputInvalid(f"{folder} holds no weights in safetensors")
    return digest_file(paths[0]) if len(paths) == 1 else digest_bytes("".join(map(digest_file, paths)).encode())
