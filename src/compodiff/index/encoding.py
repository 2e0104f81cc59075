"""Pixels to embeddings, as many at a time as is fastest.

Shapes: N pictures, H height, W width, D embedding width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from compodiff.encoders import Encoder

_AT_ONCE = 16  # more leave the cache of a core: by 64 a picture takes twice as long


def encode_pixels(encoder: Encoder, pixels: Sequence[Tensor]) -> Tensor:
    """Preprocessed pictures, N times (3, H, W), to embeddings (N, D)."""
    chunks = [torch.stack(list(pixels[at : at + _AT_ONCE])) for at in range(0, len(pixels), _AT_ONCE)]
    return torch.cat([encoder.encode_pixels(chunk) for chunk in chunks])
