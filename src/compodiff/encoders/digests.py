"""Digests of weights."""

import hashlib

import safetensors.torch
from torch import nn

from compodiff.encoders.sources import Source
from compodiff.storage.digests import digest_bytes, digest_once


def digest_weights(model: nn.Module) -> str:
    """Return the sha256 that `model`'s weights have as a safetensors file."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    return hashlib.sha256(safetensors.torch.save(state)).hexdigest()


def digest_weights_of(source: Source) -> str:
    """Return the sha256 of a source's weights: of their one file, or of its digests where there are several.

    Raises:
        InputInvalid: there are none.
    """
    digests = [digest_once(path) for path in source.list_weights()]
    return digests[0] if len(digests) == 1 else digest_bytes("".join(digests).encode())
