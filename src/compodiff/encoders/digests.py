"""What weights are, as a digest."""

import hashlib

import safetensors.torch
from torch import nn


def digest_weights(model: nn.Module) -> str:
    """Return the sha256 that `model`'s weights have as a safetensors file."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    return hashlib.sha256(safetensors.torch.save(state)).hexdigest()
