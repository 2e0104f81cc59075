"""Models of sentence-transformers as parts: embedders of texts, and those of pictures and texts.

A picture is resized and cropped to a square here, as every picture part's is, so that a mask can be laid over it; the
model's own processor then takes that square. Shapes: B pictures or texts, L tokens, D embedding width, D_k of states.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn

from compodiff.encoders.digests import digest_weights_of
from compodiff.encoders.manifest import ATTENDED, DROPPED, PicturePart, TextPart
from compodiff.encoders.preprocessing import make_transform
from compodiff.encoders.sources import Source
from compodiff.encoders.towers import TowerOutputs, make_memo_key, require_layer
from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.params import PartParams

# What a processor that takes pictures of any size is given: 784 patches of 16 pixels, 196 tokens of a Qwen3-VL.
FREE_EDGE = 448
LONGEST_TEXT = 512  # tokens, where the model says no less


def load_sentence_model(source: Source) -> Any:
    """Load a SentenceTransformer in float32.

    Raises:
        ResourceUnavailable: it cannot be read.
    """
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(
            str(source.require_folder()),
            device="cpu",
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        ).eval()
    except (OSError, SafetensorError, ValueError, RuntimeError, ImportError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ResourceUnavailable(f"the model {source.name} could not be loaded: {reason}") from error


def describe_picture(model: Any, source: Source) -> PicturePart:
    """Return the picture part of a model.

    Raises:
        InputInvalid: it embeds no pictures.
    """
    if not model.supports("image"):
        raise InputInvalid(f"{source.name} embeds no pictures, only {', '.join(map(str, model.modalities))}")
    edge = _find_edge(model)
    return PicturePart(
        **source.describe(digest_weights_of(source)),
        activation="model",
        image_size=edge or FREE_EDGE,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        resize_mode="shortest" if edge else "longest",
        embedding_dim=model.get_embedding_dimension(),
    )


def describe_text(model: Any, source: Source, asked: PartParams) -> TextPart:
    """Return the text part of a model; its default prompt goes before each text.

    Raises:
        InputInvalid: it has no token states, or the template is no prompt before the text.
    """
    if not hasattr(model[0], "modality_config") or model[0].module_output_name != "token_embeddings":
        raise InputInvalid(f"{source.name} gives no token states; take another text part, beside its pictures or alone")
    prompt = (model.prompts or {}).get(model.default_prompt_name or "", "")
    template = asked.template or f"{prompt}{{}}"
    if not template.endswith("{}"):
        raise InputInvalid(
            f"the template {template!r} of {source.name} must end in {{}}: it is a prompt before the text"
        )
    longest = min(model.max_seq_length or LONGEST_TEXT, LONGEST_TEXT)
    return TextPart(
        **source.describe(digest_weights_of(source)),
        activation="model",
        token_dim=_find_text_config(model).hidden_size,
        context_length=asked.context_length or longest,
        layer=asked.layer or -1,
        padding=ATTENDED if asked.padding == ATTENDED else DROPPED,
        template=template,
    )


def _find_text_config(model: Any) -> Any:
    return model[0].model.config.get_text_config()


def _find_edge(model: Any) -> int | None:
    """Return the edge of the square that the model's own processor makes of every picture; None where it takes any."""
    processor = getattr(model[0].processor, "image_processor", model[0].processor)
    crop, size = (getattr(processor, name, None) or {} for name in ("crop_size", "size"))
    shape = dict(crop) if getattr(processor, "do_center_crop", False) and crop else dict(size)
    height, width = shape.get("height"), shape.get("width")
    return int(height) if height and height == width else None


class SentencePictures:
    """The pictures of a SentenceTransformer."""

    def __init__(self, model: Any, part: PicturePart, folder: Path) -> None:
        """Take the model; `folder` holds its files."""
        self._model, self._part, self.folder = model, part, folder
        self._transform = make_transform(part)

    @property
    def module(self) -> nn.Module:
        """The whole model."""
        module: nn.Module = self._model
        return module

    @property
    def memo_key(self) -> str:
        """The part and the precision of its weights."""
        return make_memo_key(self._part, self._model)

    def preprocess(self, picture: Image.Image) -> Tensor:
        """Resize and crop an RGB picture -> (3, H, W) in [-1, 1]."""
        return self._transform(picture)

    def embed(self, pixels: Tensor) -> Tensor:
        """Embed pixels (B, 3, H, W) as `model.encode` does -> (B, D)."""
        shown = ((pixels.float().cpu() + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
        prompt = (self._model.prompts or {}).get(self._model.default_prompt_name or "")
        outputs = _run(self._model, [Image.fromarray(np.ascontiguousarray(each)) for each in shown], prompt or None)
        embeddings: Tensor = outputs["sentence_embedding"]
        return embeddings


class SentenceTexts:
    """The texts of a SentenceTransformer."""

    def __init__(self, model: Any, part: TextPart, folder: Path) -> None:
        """Take the model; `folder` holds its files.

        Raises:
            InputInvalid: the tower has no such layer as the part names.
        """
        self._model, self._part, self.folder = model, part, folder
        require_layer(part, _find_text_config(model).num_hidden_layers)
        self.pooled_width = int(model.get_embedding_dimension())

    @property
    def module(self) -> nn.Module:
        """The whole model."""
        module: nn.Module = self._model
        return module

    @property
    def memo_key(self) -> str:
        """The part and the precision of its weights."""
        return make_memo_key(self._part, self._model)

    def run(self, texts: Sequence[str]) -> TowerOutputs:
        """Encode texts as one batch, pooled as `model.encode` does: (B, D)."""
        attended, layer = self._part.padding == ATTENDED, self._part.layer
        settings: dict[str, Any] = {"max_length": self._part.context_length}
        if attended:
            settings["padding"] = "max_length"
        outputs = _run(
            self._model,
            list(texts),
            self._part.template.removesuffix("{}") or None,
            processing_kwargs={"text": settings},
            layer=layer,
        )
        states = outputs["token_embeddings"] if layer == -1 else outputs["all_layer_embeddings"][layer]
        mask = outputs["attention_mask"].bool() | attended
        return TowerOutputs(outputs["sentence_embedding"].float(), states.float(), mask)

    def project(self, pooled: Tensor) -> Tensor:
        """Return pooled texts (B, D) as they are: the model projects them."""
        return pooled


def _run(model: Any, inputs: list[Any], prompt: str | None, layer: int = -1, **settings: Any) -> dict[str, Any]:
    """Return what the modules of a model make of inputs, one of which is an embedding."""
    features = model.preprocess(inputs, prompt=prompt, **settings)
    weights = next(model.parameters())
    moved = {key: _place(value, weights) if isinstance(value, Tensor) else value for key, value in features.items()}
    model[0].model.config.output_hidden_states = layer != -1
    try:
        outputs: dict[str, Any] = model.forward(moved)
    finally:
        model[0].model.config.output_hidden_states = False
    return outputs


def _place(value: Tensor, weights: Tensor) -> Tensor:
    return value.to(weights.device, weights.dtype if value.is_floating_point() else value.dtype)
