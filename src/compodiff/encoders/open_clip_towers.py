"""The towers of an open_clip model, each a part.

Shapes: B pictures or texts, L tokens, D embedding width, D_k width of the text tower.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from compodiff.encoders.manifest import ATTENDED, PicturePart, TextPart
from compodiff.encoders.preprocessing import make_transform
from compodiff.encoders.towers import TowerOutputs, find_device, make_memo_key, place, require_layer

Tokenize = Callable[[list[str]], Tensor]  # texts -> ids (B, L)


class OpenClipPictures:
    """The image tower of an open_clip model."""

    def __init__(self, model: Any, part: PicturePart, folder: Path | None = None) -> None:
        """Take the model; `folder` holds its files, where it came from one."""
        self.model, self.part, self.folder = model, part, folder
        self._transform = make_transform(part)

    @property
    def module(self) -> nn.Module:
        """The whole model: its text tower may be another part."""
        module: nn.Module = self.model
        return module

    @property
    def memo_key(self) -> str:
        """The part and the precision of its weights."""
        return make_memo_key(self.part, self.model)

    def preprocess(self, picture: Image.Image) -> Tensor:
        """Resize, crop and normalise an RGB picture -> (3, H, W)."""
        return self._transform(picture)

    def embed(self, pixels: Tensor) -> Tensor:
        """Embed as `model.encode_image` does, pixels (B, 3, H, W) -> (B, D)."""
        embeddings: Tensor = self.model.encode_image(place(pixels, self.model), normalize=False)
        return embeddings


class OpenClipTexts:
    """A text tower of open_clip's own. It sees every text padded to its context."""

    def __init__(
        self, model: Any, tokenize: Tokenize, part: TextPart, embedding_dim: int, folder: Path | None = None
    ) -> None:
        """Take the model; `folder` holds its files, where it came from one.

        Raises:
            InputInvalid: the tower has no such layer as the part names.
        """
        self.model, self.tokenize, self.folder = model, tokenize, folder
        self._part = part
        self.pooled_width = embedding_dim
        tower = getattr(model, "text", model)
        require_layer(part, len(tower.transformer.resblocks))
        prefix = "text_" if tower is model else ""
        self._pooling, self._end = getattr(tower, f"{prefix}pool_type"), getattr(tower, f"{prefix}eos_id")

    @property
    def module(self) -> nn.Module:
        """The whole model: its image tower may be another part."""
        module: nn.Module = self.model
        return module

    @property
    def memo_key(self) -> str:
        """The part and the precision of its weights."""
        return make_memo_key(self._part, self.model)

    def run(self, texts: Sequence[str]) -> TowerOutputs:
        """Encode texts as one batch, pooled as `model.encode_text` does: (B, D)."""
        ids = self.tokenize([self._part.template.replace("{}", text) for text in texts]).to(find_device(self.model))
        outputs: dict[str, Any] = self.model.forward_intermediates(
            text=ids,
            text_indices=-self._part.layer,
            normalize=False,
            normalize_intermediates=self._part.layer == -1,
        )
        mask = self._find_real(ids) | (self._part.padding == ATTENDED)
        # Of the last -layer blocks, the first.
        return TowerOutputs(outputs["text_features"].float(), outputs["text_intermediates"][0].float(), mask)

    def project(self, pooled: Tensor) -> Tensor:
        """Return pooled texts (B, D) as they are: `run` projects them."""
        return pooled

    def _find_real(self, ids: Tensor) -> Tensor:
        """Return which tokens are no padding, ids (B, L) -> (B, L); at least one of every text."""
        place_of = torch.arange(ids.shape[1], device=ids.device)  # (L,)
        if self._pooling == "argmax":  # CLIP's end of text has the highest id of its vocabulary
            return torch.le(place_of, ids.argmax(dim=1, keepdim=True))
        if self._pooling == "eos":
            return torch.le(place_of, (ids == self._end).int().argmax(dim=1, keepdim=True))
        own = getattr(self.tokenize, "tokenizer", None)  # of transformers; open_clip's own pads by 0
        padding = 0 if own is None else own.pad_token_id
        real: Tensor = ids != padding
        if own is not None and padding == own.eos_token_id:  # SigLIP: the first one ends the text
            real |= (ids == padding) & ((ids == padding).cumsum(dim=1) == 1)
        return real | ((place_of == 0) & ~real.any(dim=1, keepdim=True))
