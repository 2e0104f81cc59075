"""Masks cut from the pictures themselves: a box or a blob that covers part of what is drawn.

The paper finds its masks with CLIPSeg; here the transparent ground says what is drawn. True is the region to replace.
"""

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from compodiff.images.mask_cells import MASK_SIZE


def find_drawn_cells(picture: Image.Image) -> NDArray[np.bool_]:
    """Return (MASK_SIZE, MASK_SIZE) True where a picture is not transparent; everywhere if it has no transparency."""
    alpha = picture.convert("RGBA").getchannel("A").resize((MASK_SIZE, MASK_SIZE))
    drawn = np.asarray(alpha) > 127
    return drawn if drawn.any() else np.ones_like(drawn)


def draw_mask(
    drawn: NDArray[np.bool_], generator: Generator, *, min_fraction: float, max_fraction: float
) -> NDArray[np.bool_]:
    """Draw a box or a blob around a drawn cell, as large as it takes to cover the wanted part of the drawn cells.

    Args:
        drawn: (MASK_SIZE, MASK_SIZE) True where there is something to mask.
        generator: draws the shape.
        min_fraction: of the drawn cells, at least this part is covered (up to cells of equal distance).
        max_fraction: and about at most this part.

    Returns:
        (MASK_SIZE, MASK_SIZE) True where the picture is to be replaced.
    """
    centre = generator.choice(np.argwhere(drawn))
    down, right = (np.indices(drawn.shape) - centre[:, None, None]).astype(np.float64)
    stretch = generator.uniform(0.6, 1.6)
    if generator.random() < 0.5:
        distance = np.maximum(np.abs(down) * stretch, np.abs(right) / stretch)
    else:
        angle = np.arctan2(down, right)
        phases = generator.uniform(0, 2 * np.pi, 3)
        lobes = sum(np.cos(number * angle + phase) for number, phase in zip((2, 3, 5), phases, strict=True))
        distance = np.hypot(down, right) / (1 + 0.15 * lobes)
    fraction = generator.uniform(min_fraction, max_fraction)
    reach = np.quantile(distance[drawn], fraction, method="higher")
    mask: NDArray[np.bool_] = distance <= reach
    return mask


def blank_masked(pixels: Tensor, masks: Tensor) -> Tensor:
    """Set the masked pixels of preprocessed pictures to zero, the mean colour.

    Args:
        pixels: (B, 3, H, W) after `Encoder.preprocess`.
        masks: (B, MASK_SIZE, MASK_SIZE) True where the picture is to be replaced.
    """
    enlarged = torch.nn.functional.interpolate(masks[:, None].float(), size=pixels.shape[-2:], mode="nearest")
    return pixels.masked_fill(enlarged.bool(), 0)
