"""The towers of the default encoder: frozen, under projections that are trained here, and compiled where possible.

Shapes: B pictures or texts, L tokens, F joined map values, D embedding width, D_k width of the text tower.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from compodiff.encoders.compiled import CompiledTowers
from compodiff.encoders.digests import digest_weights
from compodiff.encoders.manifest import ATTENDED, DROPPED, PicturePart, TextPart
from compodiff.encoders.open_clip_towers import OpenClipPictures, Tokenize
from compodiff.encoders.towers import TowerOutputs, find_device, place, require_layer

PLAIN = (-1, DROPPED, "{}")  # layer, padding and template of the default
_PROJECTED_ROWS = 16  # pictures that are projected at a time


class StagedPictures(OpenClipPictures):
    """A StagedTower: what its projection sees is kept, so that another projection does not run the trunk again."""

    def __init__(self, model: Any, part: PicturePart) -> None:
        super().__init__(model, part)
        self._grids = part.grids
        self.compiled: CompiledTowers | None = None

    def embed(self, pixels: Tensor) -> Tensor:
        """Embed pixels (B, 3, H, W) -> (B, D)."""
        embeddings: Tensor = self.model.visual(place(pixels, self.model))
        return embeddings

    @cached_property
    def maps_key(self) -> str:
        """What names the trunk and the grids of its maps in a memo."""
        return f"maps {digest_weights(self.model.visual.trunk)} {self._grids}"

    def compute_joined_maps(self, pixels: Tensor) -> Tensor:
        """Return what the projection sees, pixels (B, 3, H, W) -> (B, F)."""
        if self.compiled:
            return self.compiled.compute_joined_maps(pixels)
        maps: Tensor = self.model.visual.compute_joined_maps(place(pixels, self.model))
        return maps

    def project(self, maps: Tensor) -> Tensor:
        """Project maps (B, F) -> (B, D), always as many rows at a time: then a row's bits do not depend on the others.

        What the memo keeps of a picture must be the same in whatever batch it was first met.
        """
        project: Callable[[Tensor], Tensor] = self.model.visual.project
        blocks = torch.split(maps, _PROJECTED_ROWS)
        padded = (nn.functional.pad(block, (0, 0, 0, _PROJECTED_ROWS - len(block))) for block in blocks)  # (16, F)
        return torch.cat([project(rows)[: len(block)] for rows, block in zip(padded, blocks, strict=True)])


class LaterPictures:
    """StagedPictures that are opened for the first picture: a search by words, or by an id, needs no image tower."""

    folder = None

    def __init__(self, load: Callable[[], StagedPictures]) -> None:
        self._load = load
        self._tower: StagedPictures | None = None
        self._alone = Lock()

    @property
    def is_open(self) -> bool:
        """Whether the tower is in memory."""
        return self._tower is not None

    def open(self) -> StagedPictures:
        """Return the tower, for inference."""
        with self._alone:
            if self._tower is None:
                self._tower = self._load()
                self._tower.module.eval().requires_grad_(False)
            return self._tower

    @property
    def module(self) -> nn.Module:
        """The whole model."""
        return self.open().module

    @property
    def memo_key(self) -> str:
        """As of the tower."""
        return self.open().memo_key

    def preprocess(self, picture: Image.Image) -> Tensor:
        """Resize and normalise an RGB picture -> (3, H, W)."""
        return self.open().preprocess(picture)

    def embed(self, pixels: Tensor) -> Tensor:
        """Embed pixels (B, 3, H, W) -> (B, D)."""
        return self.open().embed(pixels)


class HuggingFaceTexts:
    """A text tower of an open_clip model that comes from transformers; what it pools is kept without the projection."""

    def __init__(self, model: Any, tokenize: Tokenize, part: TextPart, folder: Path | None = None) -> None:
        """Take the model; `folder` holds its files, where it came from one.

        Raises:
            InputInvalid: the tower has no such layer as the part names.
        """
        self.model, self.tokenize, self.folder, self._part = model, tokenize, folder, part
        require_layer(part, model.text.config.num_hidden_layers)
        self.pooled_width = part.token_dim
        self.compiled: CompiledTowers | None = None

    @property
    def module(self) -> nn.Module:
        """The whole model: its image tower may be another part."""
        module: nn.Module = self.model
        return module

    @cached_property
    def memo_key(self) -> str:
        """The digest of the transformer alone, without the projection that is trained here."""
        own = "" if (self._part.layer, self._part.padding, self._part.template) == PLAIN else f" {self._part}"
        return f"text {digest_weights(self.model.text.transformer)}{own}"

    def run(self, texts: Sequence[str]) -> TowerOutputs:
        """Encode texts as one batch, pooled without the projection: (B, D_k)."""
        ids = self.tokenize([self._part.template.replace("{}", text) for text in texts]).to(find_device(self.model))
        compiled = self.compiled.compute_states if self.compiled else None
        return run_transformer(self.model.text, ids, self._part, compiled)

    def project(self, pooled: Tensor) -> Tensor:
        """Project pooled states (B, D_k) -> (B, D)."""
        projected: Tensor = self.model.text.proj(pooled.to(next(self.model.parameters()).dtype))
        return projected.float()


def run_transformer(
    tower: Any, ids: Tensor, part: TextPart, states_of: Callable[[Tensor, Tensor], Tensor] | None = None
) -> TowerOutputs:
    """Run a text tower from transformers on ids (B, L), without its projection.

    Args:
        tower: an open_clip HFTextEncoder.
        ids: padded with the tower's own token.
        part: which layer's states are returned, and whether those of padding are.
        states_of: ids, mask (B, L') -> states (B, L', D_k), where not the tower itself makes them.

    Returns:
        Pooled states (B, D_k), states (B, L', D_k), mask (B, L'); L' is the longest text of the batch, or the
        context where padding is attended.
    """
    mask, attended = ids != tower.config.pad_token_id, part.padding == ATTENDED
    length = ids.shape[1] if attended else int(mask.sum(dim=1).max())
    ids, mask = ids[:, :length], mask[:, :length]
    if states_of is None or part.layer != -1:
        outputs = tower.transformer(input_ids=ids, attention_mask=mask.long(), output_hidden_states=part.layer != -1)
    else:
        outputs = SimpleNamespace(last_hidden_state=states_of(ids, mask.long()))
    states = outputs.last_hidden_state if part.layer == -1 else outputs.hidden_states[part.layer]
    return TowerOutputs(tower.pooler(outputs, mask.long()).float(), states.float(), mask | attended)
