"""The towers of a transformers model, each a part.

Shapes: B pictures or texts, L tokens, D embedding width, D_k width of the text tower.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from compodiff.encoders.manifest import ATTENDED, PicturePart, TextPart
from compodiff.encoders.preprocessing import make_transform
from compodiff.encoders.towers import TowerOutputs, find_device, make_memo_key, place


class TransformersPictures:
    """A picture tower of transformers."""

    def __init__(self, module: Any, part: PicturePart, output: str, folder: Path) -> None:
        """Take the tower; `output` names what of its outputs stands for a picture, `folder` holds its files."""
        self._module, self._part, self._output, self.folder = module, part, output, folder
        self._transform = make_transform(part)

    @property
    def module(self) -> nn.Module:
        """The picture tower alone."""
        module: nn.Module = self._module
        return module

    @property
    def memo_key(self) -> str:
        """The part and the precision of its weights."""
        return make_memo_key(self._part, self._module)

    def preprocess(self, picture: Image.Image) -> Tensor:
        """Resize, crop and normalise an RGB picture -> (3, H, W)."""
        return self._transform(picture)

    def embed(self, pixels: Tensor) -> Tensor:
        """Embed pixels (B, 3, H, W) -> (B, D)."""
        pixels = place(pixels, self._module)
        outputs = self._module(**_split_patches(pixels, self._module.config))
        embeddings: Tensor = getattr(outputs, self._output)
        return embeddings


def _split_patches(pixels: Tensor, config: Any) -> dict[str, Tensor]:
    """Return pixels (B, 3, H, W) as the tower takes them; SigLIP2 of any shape takes patches, row by row."""
    if not config.model_type.startswith("siglip2"):
        return {"pixel_values": pixels}
    edge, (count, _, height, width) = config.patch_size, pixels.shape
    rows, columns = height // edge, width // edge
    # (B, 3, rows, edge, columns, edge) -> (B, rows * columns, edge * edge * 3)
    patches = pixels.reshape(count, 3, rows, edge, columns, edge).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
    return {
        "pixel_values": patches,
        "pixel_attention_mask": patches.new_ones(patches.shape[:2], dtype=torch.long),
        "spatial_shapes": patches.new_tensor([[rows, columns]] * count, dtype=torch.long),
    }


class TransformersTexts:
    """A text tower of transformers. What fills a text up is masked inside it, unless it was trained without a mask."""

    pads_always = False

    def __init__(self, module: Any, tokenizer: Any, part: TextPart, output: str | None, folder: Path) -> None:
        """Take the tower; `output` names its embedding in the pictures' space, `folder` holds its files."""
        self._module, self._tokenizer, self._part, self._output = module, tokenizer, part, output
        self.folder = folder
        self.pooled_width = _find_pooled_width(module) if output else 0

    @property
    def module(self) -> nn.Module:
        """The text tower alone."""
        module: nn.Module = self._module
        return module

    @property
    def memo_key(self) -> str:
        """The part and the precision of its weights."""
        return make_memo_key(self._part, self._module)

    def run(self, texts: Sequence[str]) -> TowerOutputs:
        """Encode texts as one batch; pooled (B, D) is in the pictures' space already."""
        attended = self._part.padding == ATTENDED
        inputs = self._tokenizer(
            [self._part.template.replace("{}", text) for text in texts],
            padding="max_length" if attended or self.pads_always else "longest",
            truncation=True,
            max_length=self._part.context_length,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(find_device(self._module))
        mask: Tensor = inputs["attention_mask"]
        outputs = self._module(
            input_ids=inputs["input_ids"],
            attention_mask=None if self.pads_always else mask,
            output_hidden_states=self._part.layer != -1,
        )
        layer = self._part.layer
        tokens = outputs.last_hidden_state if layer == -1 else outputs.hidden_states[layer]  # (B, L, D_k)
        pooled = getattr(outputs, self._output) if self._output else None
        return TowerOutputs(None if pooled is None else pooled.float(), tokens.float(), mask.bool() | attended)

    def project(self, pooled: Tensor) -> Tensor:
        """Return pooled texts (B, D) as they are: the tower projects them."""
        return pooled


def _find_pooled_width(module: Any) -> int:
    projection = getattr(module, "text_projection", None) or getattr(module, "head", None)
    width: int = projection.out_features if projection is not None else module.config.hidden_size
    return width
