"""One interface over every open_clip model.

Shapes: B pictures or texts, L tokens, D embedding width, D_text width of the text tower.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from compodiff.encoders.compiled import CompiledTowers, is_installed
from compodiff.encoders.manifest import EncoderManifest
from compodiff.encoders.memo import TowerMemo
from compodiff.encoders.staged import StagedTower
from compodiff.execution.gpu_memory import MemoryBound

_PROJECTED_ROWS = 16  # pictures that are projected at a time


@dataclass(frozen=True)
class TextEncoding:
    """Texts as an encoder sees them.

    Attributes:
        pooled: (B, D) embeddings in the space of the pictures, not normalised.
        tokens: (B, L, D_text) last states of the text tower; L is the longest text of the batch.
        mask: (B, L) True at real tokens; every text, the empty one too, has at least one.
    """

    pooled: Tensor
    tokens: Tensor
    mask: Tensor


class Encoder:
    """An open_clip model with its preprocessing and tokenizer, for inference."""

    def __init__(self, model: nn.Module, tokenizer: Callable[[list[str]], Tensor], manifest: EncoderManifest) -> None:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        self.model = model.eval().requires_grad_(False)
        self.manifest = manifest
        self.tokenize = tokenizer  # texts -> ids (B, L)
        self._compiled: CompiledTowers | None = None
        self._memo: TowerMemo | None = None
        self._memory = MemoryBound("pictures", "take a smaller encoder, or the CPU: CUDA_VISIBLE_DEVICES=")
        self._transform: Callable[[Image.Image], Tensor] = image_transform_v2(
            PreprocessCfg(
                size=manifest.image_size,
                mean=manifest.mean,
                std=manifest.std,
                interpolation=manifest.interpolation,
                resize_mode=manifest.resize_mode,
            ),
            is_train=False,
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are; pixels and ids are moved there, results stay there."""
        return next(self.model.parameters()).device

    def prepare_for_many(self) -> "Encoder":
        """Return it ready for many inputs: on the GPU where there is one, else with towers compiled where possible."""
        self.model.to("cuda" if torch.cuda.is_available() else "cpu")
        if self.device.type == "cpu" and self.is_staged and is_installed():
            self._compiled = CompiledTowers(self.model, self.manifest.image_size)
        return self

    def remember_in(self, path: Path) -> "Encoder":
        """Return itself, keeping in the file `path` what it makes, and taking from there what was made before."""
        self._memo = TowerMemo(path)
        return self

    @property
    def is_staged(self) -> bool:
        """Whether this is the default encoder: frozen towers under projections of their own."""
        return isinstance(self.model.visual, StagedTower)

    def preprocess(self, picture: Image.Image) -> Tensor:
        """Resize and normalise a picture; transparent parts become white.

        Returns:
            (3, H, W) float32. A mask is applied after this (zero is then the mean colour).
        """
        if picture.has_transparency_data:
            rgba = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return self._transform(picture.convert("RGB"))

    def place(self, pixels: Tensor) -> Tensor:
        """Return pixels where the weights are, in the layout that is fastest there; values unchanged."""
        # Channels last halves a convolutional tower's time on the CPU (8.4 to 4.2 ms a picture of 160 px, two threads).
        return pixels.to(self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Embed preprocessed pictures, pixels (B, 3, H, W) -> (B, D) float32, not normalised.

        Raises:
            ResourceUnavailable: the GPU's memory does not hold one picture.
        """
        return self._remember(f"embedding {self.manifest.weights_digest}", self._embed, pixels)

    @torch.inference_mode()
    def compute_joined_maps(self, pixels: Tensor, *, keep: bool = True) -> Tensor:
        """Return what the default image projection sees, pixels (B, 3, H, W) -> (B, F); the memo may keep them."""
        visual: Any = self.model.visual
        run = (
            self._compiled.compute_joined_maps
            if self._compiled
            else lambda some: visual.compute_joined_maps(self.place(some))
        )
        return self._remember(self._image_tower, run, pixels, keep=keep)

    def _embed(self, pixels: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) -> (B, D) float32, as many at a time as fit."""
        visual: Any = self.model.visual
        whole: Callable[[Tensor], Tensor] = self.model.encode_image  # type: ignore[assignment]

        def encode(some: Tensor) -> Tensor:
            # Train pictures are known by their maps already; of others the embedding is kept, a thousandth of the size.
            staged = self._compiled or (self._memo and self.is_staged)
            embeddings = (
                _project(visual.proj, self.compute_joined_maps(some, keep=False)) if staged else whole(self.place(some))
            )
            return embeddings.float()

        parts = [*self._memory.run_by_parts(encode, pixels)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _remember(self, owner: str, run: Callable[[Tensor], Tensor], pixels: Tensor, *, keep: bool = True) -> Tensor:
        """Return run(pixels), a row a picture; only pictures that the memo does not know are run."""
        if self._memo is None:
            return run(pixels)
        contents = [picture.numpy().tobytes() for picture in pixels.cpu().contiguous()]
        values = self._memo.look_up(
            owner,
            contents,
            lambda places: [row.tobytes() for row in run(pixels[places]).float().cpu().numpy()],
            keep=keep,
        )
        return torch.from_numpy(np.stack([np.frombuffer(value, np.float32) for value in values])).to(self.device)

    @cached_property
    def _image_tower(self) -> str:
        visual: Any = self.model.visual
        return f"maps {digest_weights(visual.trunk)} {self.manifest.grids}"

    def encode_images(self, pictures: Iterable[Image.Image], batch_size: int = 32) -> Tensor:
        """Embed pictures of any size and mode -> (N, D) float32, not normalised."""
        preprocessed = (self.preprocess(picture) for picture in pictures)
        embeddings = []
        while batch := list(islice(preprocessed, batch_size)):
            embeddings.append(self.encode_pixels(torch.stack(batch)))
        return torch.cat(embeddings) if embeddings else torch.empty(0, self.manifest.embedding_dim)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> TextEncoding:
        """Embed texts as one batch, token states with them. Longer texts than the context are cut."""
        states = self.compute_text_states(texts)
        tower: Any = getattr(self.model, "text", None)
        return replace(states, pooled=tower.proj(states.pooled)) if self._is_transformer else states

    @torch.inference_mode()
    def compute_text_states(self, texts: Sequence[str]) -> TextEncoding:
        """Encode as `encode_texts` does, pooled without the projection of a tower from transformers: (B, D_text)."""
        if self._memo is None:
            return self._run_text_tower(texts)

        def make(places: list[int]) -> list[bytes]:
            made = self._run_text_tower([texts[place] for place in places])
            pooled, tokens = made.pooled.cpu().numpy(), made.tokens.half().cpu()
            return [
                row.tobytes() + own[real].numpy().tobytes()
                for row, own, real in zip(pooled, tokens, made.mask.cpu(), strict=True)
            ]

        width = self.manifest.token_dim if self._is_transformer else self.manifest.embedding_dim
        values = self._memo.look_up(self._text_tower, [text.encode() for text in texts], make)
        pooled = np.stack([np.frombuffer(value[: 4 * width], np.float32) for value in values])
        rows = [np.frombuffer(value[4 * width :], np.float16).reshape(-1, self.manifest.token_dim) for value in values]
        tokens = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        mask = torch.arange(tokens.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        parts = torch.from_numpy(pooled), tokens.float(), mask
        return TextEncoding(*(part.to(self.device) for part in parts))

    def _run_text_tower(self, texts: Sequence[str]) -> TextEncoding:
        ids = self.tokenize(list(texts)).to(self.device)
        if self._is_transformer:
            compiled = self._compiled.compute_states if self._compiled else None
            return TextEncoding(*run_transformer(self.model.text, ids, compiled))
        outputs: dict[str, Any] = self.model.forward_intermediates(  # type: ignore[operator]
            text=ids, text_indices=1, normalize=False, normalize_intermediates=True
        )
        # The end-of-text token has the highest id of CLIP's vocabulary; what follows it is padding.
        mask = torch.arange(ids.shape[1], device=ids.device) <= ids.argmax(dim=1, keepdim=True)
        return TextEncoding(outputs["text_features"].float(), outputs["text_intermediates"][-1].float(), mask)

    @property
    def _is_transformer(self) -> bool:
        """Whether the text tower comes from transformers."""
        return hasattr(getattr(self.model, "text", None), "pooler")

    @cached_property
    def _text_tower(self) -> str:
        text: Any = self.model.text if self._is_transformer else None
        return f"text {self.manifest.weights_digest if text is None else digest_weights(text.transformer)}"


def _project(projection: nn.Module, maps: Tensor) -> Tensor:
    """Project maps (B, F) -> (B, D), always as many rows at a time: then a row's bits do not depend on the others.

    What the memo keeps of a picture must be the same in whatever batch it was first met.
    """
    blocks = torch.split(maps, _PROJECTED_ROWS)
    padded = (nn.functional.pad(block, (0, 0, 0, _PROJECTED_ROWS - len(block))) for block in blocks)  # (16, F)
    return torch.cat([projection(rows)[: len(block)] for rows, block in zip(padded, blocks, strict=True)])


def run_transformer(
    tower: Any, ids: Tensor, states_of: Callable[[Tensor, Tensor], Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a text tower from transformers on ids (B, L), without its projection.

    Args:
        tower: an open_clip HFTextEncoder.
        ids: padded with the tower's own token.
        states_of: ids, mask (B, L') -> states (B, L', D_text), where not the tower itself makes them.

    Returns:
        Pooled states (B, D_text), states (B, L', D_text), mask (B, L'); L' is the longest text of the batch.
    """
    from transformers.modeling_outputs import BaseModelOutput

    mask = ids != tower.config.pad_token_id
    length = int(mask.sum(dim=1).max())
    ids, mask = ids[:, :length], mask[:, :length]
    if states_of is None:
        states = tower.transformer(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    else:
        states = states_of(ids, mask.long())
    return tower.pooler(BaseModelOutput(last_hidden_state=states), mask.long()), states, mask


def digest_weights(model: nn.Module) -> str:
    """Return the sha256 that `model`'s weights have as a safetensors file."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    return hashlib.sha256(safetensors.torch.save(state)).hexdigest()
