"""A mask that a person drew, as the 64 x 64 cells that the model knows."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from compodiff.encoders import Encoder
from compodiff.errors import InputInvalid
from compodiff.images.mask_cells import MASK_SIZE, find_mask_cells

_SAME_SHAPE = 0.02  # relative difference of two aspect ratios that rounding a resized picture explains
_NOTHING = "the mask marks nothing of the reference; paint white what is to be replaced"


def compute_cells(mask: Image.Image, reference: Image.Image, encoder: Encoder) -> Tensor:
    """Which of the 64 x 64 cells of the picture that the encoder sees a mask covers by more than half.

    Args:
        mask: white (and opaque) where the reference is to be replaced.
        reference: the picture that the mask was drawn on; the mask may be larger or smaller, but of the same shape.
        encoder: whose resizing and cropping the mask shares.

    Returns:
        (64, 64) bool.

    Raises:
        InputInvalid: the mask has another shape than the reference, or covers no cell.
    """
    ratio = (mask.width * reference.height) / (mask.height * reference.width)
    if abs(ratio - 1) > _SAME_SHAPE:
        raise InputInvalid(
            f"the mask is {mask.width} x {mask.height}, the reference {reference.width} x {reference.height}; "
            "draw the mask on the reference"
        )
    ground = Image.new("RGBA", mask.size, "black")
    painted = Image.alpha_composite(ground, mask.convert("RGBA")).convert("L").point(lambda value: 255 * (value > 127))
    part = encoder.manifest.picture
    channel = encoder.preprocess(painted)[0] * part.std[0] + part.mean[0]
    # The border that an encoder puts around a picture is none of it, whatever its colour.
    inside = torch.from_numpy(find_mask_cells(np.ones((mask.height, mask.width)), part.resize_mode))
    cells = (adaptive_avg_pool2d(channel[None], MASK_SIZE)[0] > 0.5) & inside
    if not bool(cells.any()):
        raise InputInvalid(_NOTHING)
    return cells


def check_cells(cells: NDArray[np.bool_]) -> Tensor:
    """Cells that are a mask already -> (64, 64) bool.

    Raises:
        InputInvalid: they have another shape, or cover nothing.
    """
    if cells.shape != (MASK_SIZE, MASK_SIZE):
        raise InputInvalid(f"the mask has the shape {cells.shape}; a mask by cells is {MASK_SIZE} x {MASK_SIZE}")
    if not cells.any():
        raise InputInvalid(_NOTHING)
    return torch.from_numpy(cells.astype(np.bool_))


def stack_masks(cells: list[Tensor | None]) -> Tensor | None:
    """(B, 64, 64), empty where a query has no mask; None where no query has one."""
    if all(masked is None for masked in cells):
        return None
    empty = torch.zeros(MASK_SIZE, MASK_SIZE, dtype=torch.bool)
    return torch.stack([empty if masked is None else masked for masked in cells])
