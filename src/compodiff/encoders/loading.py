"""Encoders from open_clip's list and from a folder: model.safetensors and manifest.json."""

import json
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from compodiff.encoders import embedded
from compodiff.encoders.encoder import Encoder, digest_weights
from compodiff.encoders.manifest import EncoderManifest
from compodiff.errors import EncoderMismatch, InputInvalid, ResourceUnavailable
from compodiff.storage.atomic import replace_folder, write_json
from compodiff.storage.digests import digest_file

KIND = "encoder"
WEIGHTS, MANIFEST = "model.safetensors", "manifest.json"


def open_clip_encoder(name: str, *, pretrained: str | Path | None) -> Encoder:
    """Return an encoder of open_clip's list.

    Args:
        name: open_clip's name.
        pretrained: one of open_clip's tags for `name` (fetched from its hub unless cached), a file of weights
            (.safetensors, or .pt read without unpickling code), or None for random weights. A tag brings its
            activation; for a file of OpenAI's weights take the QuickGELU variant of the name, "ViT-L-14-quickgelu".

    Raises:
        InputInvalid: open_clip does not know the name, the weights are neither a tag nor a file, or the text tower
            does not end its texts with a token of its own.
        ResourceUnavailable: the weights could not be fetched or loaded.
    """
    import open_clip

    if name not in open_clip.list_models():
        known = "python -c 'import open_clip; print(open_clip.list_models())'"
        raise InputInvalid(f"open_clip has no model {name!r}; its models: {known}")
    text: dict[str, Any] = open_clip.get_model_config(name)["text_cfg"]
    if text.get("pool_type", "argmax") != "argmax":
        raise InputInvalid(f"the text tower of {name} pools by {text['pool_type']!r}; take one that pools at its end")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is not None and str(pretrained) not in tags and not Path(pretrained).is_file():
        raise InputInvalid(f"{pretrained} is neither a file of weights nor a tag of {name} ({', '.join(tags)})")
    quick_gelu = open_clip.get_pretrained_cfg(name, str(pretrained)).get("quick_gelu", False)
    return _load_listed(name, pretrained, quick_gelu=quick_gelu)


def _load_listed(name: str, pretrained: str | Path | None, *, quick_gelu: bool) -> Encoder:
    import open_clip

    weights = None if pretrained is None else str(pretrained)
    try:
        model = open_clip.create_model(name, pretrained=weights, force_quick_gelu=quick_gelu)
    except (RuntimeError, OSError, SafetensorError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ResourceUnavailable(f"the weights {pretrained} of {name} could not be loaded: {reason}") from error
    preprocessing, config = open_clip.get_model_preprocess_cfg(model), open_clip.get_model_config(name)
    size = preprocessing["size"]
    manifest = EncoderManifest(
        name=name,
        weights_digest=digest_weights(model),
        activation="quick_gelu" if quick_gelu or config.get("quick_gelu", False) else "gelu",
        image_size=size if isinstance(size, int) else size[0],
        mean=tuple(preprocessing["mean"]),
        std=tuple(preprocessing["std"]),
        interpolation=preprocessing["interpolation"],
        resize_mode=preprocessing["resize_mode"],
        embedding_dim=config["embed_dim"],
        token_dim=_find_token_dim(model, config["text_cfg"]),
        context_length=config["text_cfg"].get("context_length", 77),
    )
    return Encoder(model, open_clip.get_tokenizer(name), manifest)


def save_encoder(encoder: Encoder, folder: Path) -> EncoderManifest:
    """Write the encoder to `folder`, whole or not at all; its manifest gets the digest of the weights as written."""
    with replace_folder(folder, KIND) as temporary:
        state = {name: tensor.contiguous() for name, tensor in encoder.model.state_dict().items()}
        safetensors.torch.save_file(state, temporary / WEIGHTS)
        manifest = replace(encoder.manifest, weights_digest=digest_file(temporary / WEIGHTS))
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
        digest = digest_file(folder / WEIGHTS)
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
        quick_gelu = manifest.activation == "quick_gelu"
        listed = _load_listed(manifest.name, folder / WEIGHTS, quick_gelu=quick_gelu)
        return Encoder(listed.model, listed.tokenize, manifest)
    model = embedded.build_model(
        embedding_dim=manifest.embedding_dim, image_size=manifest.image_size, grids=manifest.grids
    )
    model.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    return Encoder(model, embedded.build_tokenizer(), manifest)


def _find_token_dim(model: Any, text_config: dict[str, Any]) -> int:
    width: int = model.text.config.hidden_size if "hf_model_name" in text_config else text_config["width"]
    return width
