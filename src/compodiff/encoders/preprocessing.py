"""What a picture goes through before it enters a tower: open_clip's preprocessing, by Pillow and torch alone.

open_clip has it from torchvision and timm, whose import takes a second; the numbers are the same, bit for bit.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from compodiff.encoders.manifest import EMBEDDED, PicturePart

Size = tuple[int, int]  # width, height
# By open_clip's names; it takes "random" at training alone.
_FILTERS = {"bilinear": Resampling.BILINEAR, "bicubic": Resampling.BICUBIC, "random": Resampling.BICUBIC}


def make_transform(part: PicturePart) -> Callable[[Image.Image], Tensor]:
    """Return the preprocessing of an RGB picture -> (3, H, W) float32, as open_clip has it.

    Where a picture is not cut, one that is too narrow to keep a pixel of its shorter edge is widened first.
    """
    return partial(_transform, part, _SIZES[part.resize_mode], _FILTERS[part.interpolation])


def _transform(
    part: PicturePart, choose_size: Callable[[PicturePart, Size], Size], resample: Resampling, picture: Image.Image
) -> Tensor:
    if part.resize_mode == "longest":
        picture = _keep_a_pixel(picture, part.image_size)
    resized = picture.resize(choose_size(part, picture.size), resample)
    fill = "white" if part.library == EMBEDDED else "black"  # transparent parts are white there, too
    levels = torch.from_numpy(np.array(_cut_or_fill(resized, part.image_size, fill)))  # (H, W, 3)
    mean, std = (torch.tensor(each)[:, None, None] for each in (part.mean, part.std))  # (3, 1, 1)
    return (levels.permute(2, 0, 1).contiguous().float() / 255 - mean) / std


def _keep_a_pixel(picture: Image.Image, size: int) -> Image.Image:
    """Widen the shorter edge so that one pixel of it is left where the longer one becomes `size`."""
    least = -(-max(picture.size) // size)
    if min(picture.size) >= least:
        return picture
    return picture.resize((max(picture.width, least), max(picture.height, least)))


def _choose_whole(part: PicturePart, size: Size) -> Size:
    ratio = max(size) / part.image_size
    return round(size[0] / ratio), round(size[1] / ratio)


def _choose_to_cut(part: PicturePart, size: Size) -> Size:
    shorter, longer = min(size), max(size)
    edge = part.resize_to or part.image_size
    rest = int(edge * longer / shorter)
    return (edge, rest) if size[0] == shorter else (rest, edge)


# To what size a picture of some size is resized, by open_clip's modes.
_SIZES: dict[str, Callable[[PicturePart, Size], Size]] = {
    "longest": _choose_whole,
    "shortest": _choose_to_cut,
    "squash": lambda part, _: (part.image_size, part.image_size),
}


def _cut_or_fill(picture: Image.Image, edge: int, fill: str) -> Image.Image:
    """Return the square in the middle of a picture, with `fill` where the picture is smaller."""
    left, top = ((edge - each) // 2 if each < edge else -round((each - edge) / 2) for each in picture.size)
    square = Image.new(picture.mode, (edge, edge), fill)
    square.paste(picture, (left, top))
    return square
