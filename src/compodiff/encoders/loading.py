"""Encoders from open_clip's list and from a folder: model.safetensors and manifest.json."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from compodiff.atomic import atomic_folder, write_json
from compodiff.encoders import embedded
from compodiff.encoders.encoder import Encoder, weights_digest
from compodiff.encoders.manifest import EncoderManifest
from compodiff.errors import EncoderMismatch, InputInvalid, ResourceUnavailable

WEIGHTS, MANIFEST = "model.safetensors", "manifest.json"


def open_clip_encoder(name: str, *, pretrained: str | Path | None) -> Encoder:
    """An encoder of open_clip's list.

    Args:
        name: open_clip's name. OpenAI's weights want the QuickGELU variant: "ViT-L-14-quickgelu".
        pretrained: one of open_clip's tags for `name` (fetched from its hub unless cached), a file of weights
            (.safetensors, or .pt read without unpickling code), or None for random weights.

    Raises:
        InputInvalid: open_clip does not know the name, or the weights are neither a tag nor a file.
        ResourceUnavailable: the weights of a tag could not be fetched.
    """
    import open_clip

    if name not in open_clip.list_models():
        raise InputInvalid(
            f"open_clip has no model {name!r}; see: python -c 'import open_clip; open_clip.list_models()'"
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is not None and str(pretrained) not in tags and not Path(pretrained).is_file():
        raise InputInvalid(f"{pretrained} is neither a file of weights nor a tag of {name} ({', '.join(tags)})")
    try:
        model = open_clip.create_model(name, pretrained=None if pretrained is None else str(pretrained))
    except (RuntimeError, OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ResourceUnavailable(f"the weights {pretrained} of {name} could not be loaded: {reason}") from error
    preprocessing = open_clip.get_model_preprocess_cfg(model)
    size = preprocessing["size"]
    manifest = EncoderManifest(
        name=name,
        weights_digest=weights_digest(model),
        activation=_activation(model),
        image_size=size if isinstance(size, int) else size[0],
        mean=tuple(preprocessing["mean"]),
        std=tuple(preprocessing["std"]),
        interpolation=preprocessing["interpolation"],
        resize_mode=preprocessing["resize_mode"],
        embedding_dim=_embedding_dim(name),
        token_dim=open_clip.get_model_config(name)["text_cfg"]["width"],
        context_length=model.context_length,
    )
    return Encoder(model, open_clip.get_tokenizer(name), manifest)


def save_encoder(encoder: Encoder, folder: Path) -> EncoderManifest:
    """Write the encoder to `folder`, whole or not at all; its manifest gets the digest of the weights as written."""
    with atomic_folder(folder) as temporary:
        state = {name: tensor.contiguous() for name, tensor in encoder.model.state_dict().items()}
        safetensors.torch.save_file(state, temporary / WEIGHTS)
        manifest = replace(encoder.manifest, weights_digest=_file_digest(temporary / WEIGHTS))
        write_json(temporary / MANIFEST, manifest.to_json())
    return manifest


def load_encoder(folder: Path) -> Encoder:
    """Read an encoder that `save_encoder` wrote.

    Raises:
        InputInvalid: the folder holds no encoder.
        EncoderMismatch: the weights are not those the manifest was written for.
    """
    try:
        content: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        digest = _file_digest(folder / WEIGHTS)
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise InputInvalid(f"{folder} holds no encoder ({error}); run: dvc repro train_encoder") from error
    manifest = EncoderManifest.from_json(content)
    if digest != manifest.weights_digest:
        raise EncoderMismatch(
            f"{folder / WEIGHTS} is damaged or of another run ({digest[:12]}, its manifest names "
            f"{manifest.weights_digest[:12]}); run: dvc repro train_encoder --force"
        )
    if manifest.name != embedded.NAME:
        # A file of weights does not carry its preprocessing; the manifest does.
        listed = open_clip_encoder(manifest.name, pretrained=folder / WEIGHTS)
        return Encoder(listed.model, listed.tokenize, manifest)
    model = embedded.build_model(
        embedding_dim=manifest.embedding_dim, image_size=manifest.image_size, grids=manifest.grids
    )
    model.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    return Encoder(model, embedded.build_tokenizer(), manifest)


def _activation(model: nn.Module) -> str:
    from open_clip.transformer import QuickGELU

    return "quick_gelu" if any(isinstance(module, QuickGELU) for module in model.modules()) else "gelu"


def _embedding_dim(name: str) -> int:
    import open_clip

    dim: int = open_clip.get_model_config(name)["embed_dim"]
    return dim


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
