"""The towers of an open_clip model, each a part.

Shapes: B pictures or texts, L tokens, D embedding width, D_k width of the text tower.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compodiff.encoders.manifest import PicturePart, TextPart
from compodiff.encoders.preprocessing import make_transform
from compodiff.encoders.towers import TowerOutputs, find_device, place

Tokenize = Callable[[list[str]], Tensor]  # texts -> ids (B, L)


class OpenClipPictures:
    """The image tower of an open_clip model."""

    folder: Path | None = None

    def __init__(self, model: Any, part: PicturePart) -> None:
        self.model = model
        self.preprocess = make_transform(part)
        self.memo_key = f"embedding {part.weights_digest}"

    @property
    def module(self) -> nn.Module:
        """The whole model: its text tower may be another part."""
        module: nn.Module = self.model
        return module

    def embed(self, pixels: Tensor) -> Tensor:
        """Embed as `model.encode_image` does, pixels (B, 3, H, W) -> (B, D)."""
        embeddings: Tensor = self.model.encode_image(place(pixels, self.model))
        return embeddings


class OpenClipTexts:
    """A text tower of open_clip's own, pooled at the end-of-text token."""

    folder: Path | None = None

    def __init__(self, model: Any, tokenize: Tokenize, part: TextPart, embedding_dim: int) -> None:
        self.model, self.tokenize = model, tokenize
        self.pooled_width = embedding_dim
        self.memo_key = f"text {part.weights_digest}"

    @property
    def module(self) -> nn.Module:
        """The whole model: its image tower may be another part."""
        module: nn.Module = self.model
        return module

    def run(self, texts: Sequence[str]) -> TowerOutputs:
        """Encode texts as one batch, pooled as `model.encode_text` does: (B, D)."""
        ids = self.tokenize(list(texts)).to(find_device(self.model))
        outputs: dict[str, Any] = self.model.forward_intermediates(
            text=ids, text_indices=1, normalize=False, normalize_intermediates=True
        )
        # The end-of-text token has the highest id of CLIP's vocabulary; what follows it is padding.
        mask = torch.arange(ids.shape[1], device=ids.device) <= ids.argmax(dim=1, keepdim=True)
        return TowerOutputs(outputs["text_features"].float(), outputs["text_intermediates"][-1].float(), mask)

    def project(self, pooled: Tensor) -> Tensor:
        """Return pooled texts (B, D) as they are: `run` projects them."""
        return pooled
