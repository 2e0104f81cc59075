"""Masks for the masked task: where in a picture a noun of its caption is, as 64 x 64 cells (paper, section 4.1).

CLIPSeg finds the noun; sprites know their masks exactly; a box is a mask, too. True is the region to replace. A cell is
a part of the picture as the encoder sees it, so what it crops is cropped here.

Shapes: B pictures, H and W pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

from compodiff.embeddings.masking import MASK_SIZE
from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.params import MaskParams

Box = tuple[float, float, float, float]  # left, upper, right, lower, pixels
Cells = NDArray[np.bool_]

# What stands after the noun it belongs to ("a cat on a mat", "a man who sings"), or is none in most captions.
_OTHER_WORDS = (
    "a an the this that these those some any no each every all both of in on at by to from with without and or but as "
    "for into onto over under near behind beside between through during is are was were be being been has have had do "
    "does did it its he she they his her their him them who which what where when there here very not more most "
    "one two three four five six red orange yellow green blue purple pink brown black white grey gray big small large "
    "little old young new"
)
_NO_NOUNS = frozenset(_OTHER_WORDS.split())


def mask_noun(caption: str, keyword: str = "") -> str:
    """What a mask of a picture is to cover: the keyword of its caption pair, or the last noun-like word of its caption.

    Args:
        caption: what the picture shows.
        keyword: taken where the caption names it.

    Raises:
        InputInvalid: the caption has no word.
    """
    if keyword and keyword.casefold() in caption.casefold():
        return keyword
    words = [word.strip(".,;:!?\"'()") for word in caption.split()]
    nouns = [word for word in words if word.casefold() not in _NO_NOUNS and not word.endswith("ly") and word.isalpha()]
    chosen = nouns or [word for word in words if word]
    if not chosen:
        raise InputInvalid("an empty caption names nothing to mask; give a keyword")
    return chosen[-1]


def exact_cells(mask: NDArray[Any], resize_mode: str) -> Cells:
    """Cells that an exact mask covers by more than half.

    Args:
        mask: (H, W), 1 or True where the picture is to be replaced.
        resize_mode: how the encoder makes a picture square (`EncoderManifest.resize_mode`).
    """
    return _cells(torch.from_numpy(np.asarray(mask, dtype=np.float32)), 0.5, resize_mode)


def box_cells(box: Box, size: tuple[int, int], resize_mode: str) -> Cells:
    """Cells that a box covers by more than half.

    Args:
        box: left, upper, right, lower in pixels.
        size: width and height of the picture.
        resize_mode: how the encoder makes a picture square.

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
    return exact_cells(mask, resize_mode)


class ClipSegMasks:
    """Finds nouns in pictures."""

    def __init__(self, network: CLIPSegForImageSegmentation, processor: CLIPSegProcessor, params: MaskParams) -> None:
        self._network = network.eval().requires_grad_(False)
        self._processor = processor
        self._params = params

    @classmethod
    def load(cls, params: MaskParams) -> "ClipSegMasks":
        """Load the network, in safetensors, on the GPU where there is one.

        Raises:
            InputInvalid: the folder holds no CLIPSeg.
            ResourceUnavailable: it could not be fetched.
        """
        place, revision = params.clipseg, params.revision
        try:
            network = CLIPSegForImageSegmentation.from_pretrained(place, revision=revision, use_safetensors=True)
            processor = CLIPSegProcessor.from_pretrained(place, revision=revision)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            if Path(place).is_dir():
                raise InputInvalid(f"{place} holds no CLIPSeg in safetensors: {reason}") from error
            raise ResourceUnavailable(f"the CLIPSeg {place} could not be fetched: {reason}") from error
        return cls(network.to("cuda" if torch.cuda.is_available() else "cpu"), processor, params)

    def cells(self, pictures: Sequence[Image.Image], nouns: Sequence[str], resize_mode: str) -> Iterator[Cells]:
        """Yield the cells where each picture shows its noun; none of them where it is not found.

        Args:
            pictures: of any size.
            nouns: one for each.
            resize_mode: how the encoder makes a picture square.
        """
        batch_size = self._params.batch_size
        for first in range(0, len(pictures), batch_size):
            some = slice(first, first + batch_size)
            found = self._probabilities(pictures[some], nouns[some])
            for picture, probability in zip(pictures[some], found, strict=True):
                whole = interpolate(probability[None, None], size=(picture.height, picture.width), mode="bilinear")
                yield _cells(whole[0, 0], self._params.threshold, resize_mode)

    @torch.inference_mode()
    def _probabilities(self, pictures: Sequence[Image.Image], nouns: Sequence[str]) -> Tensor:
        """(B, h, w) at CLIPSeg's resolution, each of a whole picture."""
        inputs = self._processor(
            text=list(nouns),
            images=[picture.convert("RGB") for picture in pictures],
            padding=True,
            truncation=True,
            return_tensors="pt",
        )
        logits: Tensor = self._network(
            **{name: tensor.to(self._network.device) for name, tensor in inputs.items()}
        ).logits
        return logits.reshape(len(pictures), *logits.shape[-2:]).sigmoid().float().cpu()


def _cells(coverage: Tensor, threshold: float, resize_mode: str) -> Cells:
    """Average the coverage of a picture, (H, W) in [0, 1], over the cells of what the encoder sees of it."""
    seen = _CUTS[resize_mode](coverage)
    cells: Cells = (adaptive_avg_pool2d(seen[None], MASK_SIZE)[0] > threshold).numpy()
    return cells


def _middle(coverage: Tensor) -> Tensor:
    height, width = coverage.shape
    edge = min(height, width)
    top, left = round((height - edge) / 2), round((width - edge) / 2)
    return coverage[top : top + edge, left : left + edge]


def _padded(coverage: Tensor) -> Tensor:
    height, width = coverage.shape
    edge = max(height, width)
    top, left = (edge - height) // 2, (edge - width) // 2
    square = torch.zeros(edge, edge)
    square[top : top + height, left : left + width] = coverage
    return square


# By open_clip's modes of resizing.
_CUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "shortest": _middle,
    "longest": _padded,
    "squash": lambda coverage: coverage,
}
