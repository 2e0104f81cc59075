"""Masks as cells: the region of a picture to replace, 64 x 64 of what the encoder sees of it (paper, section 4.1).

True is the region to replace. A cell is a part of the picture as the encoder sees it, so what it crops is cropped here.
Shapes: H and W pixels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from compodiff.errors import InputInvalid

MASK_SIZE = 64  # cells along an edge (paper, section 4.1)

Box = tuple[float, float, float, float]  # left, upper, right, lower, pixels
Cells = NDArray[np.bool_]


def find_mask_cells(mask: NDArray[Any], resize_mode: str) -> Cells:
    """Return the cells that an exact mask (H, W), 1 on what is to be replaced, covers by more than half."""
    return average_cells(torch.from_numpy(np.asarray(mask, dtype=np.float32)), 0.5, resize_mode)


def find_box_cells(box: Box, size: tuple[int, int], resize_mode: str) -> Cells:
    """Return the cells that a box covers by more than half, in a picture of `size` (width, height).

    Raises:
        InputInvalid: the box is empty or lies outside of the picture.
    """
    width, height = size
    left, upper, right, lower = (round(edge) for edge in box)
    left, upper, right, lower = max(left, 0), max(upper, 0), min(right, width), min(lower, height)
    if left >= right or upper >= lower:
        raise InputInvalid(
            f"the box {box} marks nothing of a picture of {width} x {height}; give left, upper, right, lower"
        )
    mask = np.zeros((height, width), dtype=np.float32)
    mask[upper:lower, left:right] = 1
    return find_mask_cells(mask, resize_mode)


def average_cells(coverage: Tensor, threshold: float, resize_mode: str) -> Cells:
    """Average the coverage of a picture, (H, W) in [0, 1], over the cells of what the encoder sees of it."""
    seen = _CUTS[resize_mode](coverage)
    cells: Cells = (adaptive_avg_pool2d(seen[None], MASK_SIZE)[0] > threshold).numpy()
    return cells


def _crop_middle(coverage: Tensor) -> Tensor:
    height, width = coverage.shape
    edge = min(height, width)
    top, left = round((height - edge) / 2), round((width - edge) / 2)
    return coverage[top : top + edge, left : left + edge]


def _pad_to_square(coverage: Tensor) -> Tensor:
    height, width = coverage.shape
    edge = max(height, width)
    top, left = (edge - height) // 2, (edge - width) // 2
    square = torch.zeros(edge, edge)
    square[top : top + height, left : left + width] = coverage
    return square


# By open_clip's modes of resizing.
_CUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "shortest": _crop_middle,
    "longest": _pad_to_square,
    "squash": lambda coverage: coverage,
}
