"""One interface over every open_clip model.

Shapes: B pictures or texts, L tokens, D embedding width, D_text width of the text tower.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from compodiff.encoders.manifest import EncoderManifest
from compodiff.memory import MemoryBound


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

    def on_gpu(self) -> "Encoder":
        """Itself, on the GPU where there is one."""
        self.model.to("cuda" if torch.cuda.is_available() else "cpu")
        return self

    def preprocess(self, picture: Image.Image) -> Tensor:
        """Resize and normalise a picture; transparent parts become white.

        Returns:
            (3, H, W) float32. A mask is applied after this (zero is then the mean colour).
        """
        if picture.has_transparency_data:
            rgba = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return self._transform(picture.convert("RGB"))

    def placed(self, pixels: Tensor) -> Tensor:
        """Pixels where the weights are, in the layout that is fastest there; values unchanged."""
        # Channels last halves a convolutional tower's time on the CPU (8.4 to 4.2 ms a picture of 160 px, two threads).
        return pixels.to(self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Embed preprocessed pictures, pixels (B, 3, H, W) -> (B, D) float32, not normalised.

        Raises:
            ResourceUnavailable: the GPU's memory does not hold one picture.
        """
        encode: Callable[[Tensor], Tensor] = self.model.encode_image  # type: ignore[assignment]
        parts = [*self._memory.parts(lambda some: encode(self.placed(some)).float(), pixels)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

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
        ids = self.tokenize(list(texts)).to(self.device)
        text_tower: Any = getattr(self.model, "text", None)
        if text_tower is not None and hasattr(text_tower, "pooler"):  # a tower from transformers
            pooled, tokens, mask = transformer_states(text_tower, ids)
            return TextEncoding(text_tower.proj(pooled), tokens, mask)
        outputs: dict[str, Any] = self.model.forward_intermediates(  # type: ignore[operator]
            text=ids, text_indices=1, normalize=False, normalize_intermediates=True
        )
        # The end-of-text token has the highest id of CLIP's vocabulary; what follows it is padding.
        mask = torch.arange(ids.shape[1], device=ids.device) <= ids.argmax(dim=1, keepdim=True)
        return TextEncoding(outputs["text_features"].float(), outputs["text_intermediates"][-1].float(), mask)


def transformer_states(tower: Any, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run a text tower from transformers on ids (B, L), without its projection.

    Returns:
        Pooled states (B, D_text), states (B, L', D_text), mask (B, L'); L' is the longest text of the batch.
    """
    mask = ids != tower.config.pad_token_id
    length = int(mask.sum(dim=1).max())
    ids, mask = ids[:, :length], mask[:, :length]
    output = tower.transformer(input_ids=ids, attention_mask=mask.long())
    return tower.pooler(output, mask.long()), output.last_hidden_state, mask


def weights_digest(model: nn.Module) -> str:
    """The sha256 that `model`'s weights have as a safetensors file."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    return hashlib.sha256(safetensors.torch.save(state)).hexdigest()
