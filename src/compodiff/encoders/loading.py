"""Encoders put together from parts, and a folder of one: manifest.json, and the weights that no hub's cache holds."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch

from compodiff.encoders import embedded
from compodiff.encoders.encoder import Encoder
from compodiff.encoders.manifest import EMBEDDED, EncoderManifest, PicturePart, TextPart
from compodiff.encoders.open_clip_models import OpenClipModel, load_listed, load_open_clip
from compodiff.errors import EncoderMismatch, InputInvalid
from compodiff.params import PartParams
from compodiff.storage.atomic import replace_folder, write_json
from compodiff.storage.digests import digest_file

KIND = "encoder"
WEIGHTS, MANIFEST = "model.safetensors", "manifest.json"


def assemble_encoder(picture: PartParams, texts: Sequence[PartParams]) -> Encoder:
    """Return the encoder of these parts; a text part of the picture part's model is its joint text.

    Raises:
        InputInvalid: a library does not know a model, or it cannot be such a part.
        ResourceUnavailable: weights could not be loaded.
    """
    models = {named: load_open_clip(*named) for named in dict.fromkeys(_name_model(it) for it in (picture, *texts))}
    own = [models[_name_model(it)] for it in texts]
    manifest = EncoderManifest(
        picture=models[_name_model(picture)].picture,
        texts=tuple(model.text for model in own),
        joint=next((number for number, it in enumerate(texts) if _name_model(it) == _name_model(picture)), None),
    )
    return _join(models[_name_model(picture)], own, manifest)


def open_clip_encoder(name: str, *, pretrained: str | Path | None) -> Encoder:
    """Return the encoder of both towers of one model of open_clip's list; see `load_open_clip`."""
    model = load_open_clip(name, pretrained)
    return _join(model, [model], EncoderManifest(model.picture, (model.text,), joint=0))


def save_encoder(encoder: Encoder, folder: Path) -> EncoderManifest:
    """Write the encoder to `folder`, whole or not at all; its manifest gets the digest of the weights as written."""
    digests: dict[int, str] = {}  # by model: parts may share one
    with replace_folder(folder, KIND) as temporary:
        for tower in (encoder.picture, *encoder.texts):
            if id(tower.module) not in digests:
                path = temporary / name_weights(len(digests))
                state = {name: tensor.contiguous() for name, tensor in tower.module.state_dict().items()}
                safetensors.torch.save_file(state, path)
                digests[id(tower.module)] = digest_file(path)
        picture, *texts = (digests[id(tower.module)] for tower in (encoder.picture, *encoder.texts))
        manifest = replace(
            encoder.manifest,
            picture=replace(encoder.manifest.picture, weights_digest=picture),
            texts=tuple(
                replace(part, weights_digest=own) for part, own in zip(encoder.manifest.texts, texts, strict=True)
            ),
        )
        write_json(temporary / MANIFEST, manifest.to_json())
    return manifest


def name_weights(number: int) -> str:
    """Return the name of the file that holds the weights of an encoder's model of this number."""
    return WEIGHTS if number == 0 else f"model-{number}.safetensors"


def load_encoder(folder: Path) -> Encoder:
    """Read an encoder that `save_encoder` wrote.

    Raises:
        InputInvalid: the folder holds no encoder.
        EncoderMismatch: the weights are not those the manifest was written for.
    """
    try:
        content: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise InputInvalid(f"{folder} holds no encoder ({error}); run: dvc repro train_encoder") from error
    manifest = EncoderManifest.from_json(content)
    parts: list[PicturePart | TextPart] = [manifest.picture, *manifest.texts]
    files: dict[str, Path] = {}  # by digest
    for part in parts:
        if part.weights_digest not in files:
            files[part.weights_digest] = _check_weights(folder / name_weights(len(files)), part.weights_digest)
    if manifest.picture.library == EMBEDDED:
        return _load_embedded(files[manifest.picture.weights_digest], manifest)
    models = {
        # A file of weights does not carry its preprocessing; the manifest does.
        part.weights_digest: load_listed(
            part.name, files[part.weights_digest], quick_gelu=part.activation == "quick_gelu"
        )
        for part in {part.weights_digest: part for part in parts}.values()
    }
    own = [models[part.weights_digest] for part in manifest.texts]
    return _join(models[manifest.picture.weights_digest], own, manifest)


def _check_weights(path: Path, expected: str) -> Path:
    try:
        digest = digest_file(path)
    except FileNotFoundError as error:
        raise InputInvalid(f"{path.parent} holds no encoder ({error}); run: dvc repro train_encoder") from error
    if digest != expected:
        raise EncoderMismatch(
            f"{path} is damaged or of another run ({digest[:12]}, its manifest names {expected[:12]}); "
            "run: dvc repro train_encoder --force"
        )
    return path


def _load_embedded(weights: Path, manifest: EncoderManifest) -> Encoder:
    picture = manifest.picture
    model = embedded.build_model(
        embedding_dim=picture.embedding_dim, image_size=picture.image_size, grids=picture.grids
    )
    model.load_state_dict(safetensors.torch.load_file(weights))
    return embedded.join_towers(model, manifest)


def _join(picture: OpenClipModel, texts: Sequence[OpenClipModel], manifest: EncoderManifest) -> Encoder:
    towers = [model.make_text_tower(part) for model, part in zip(texts, manifest.texts, strict=True)]
    return Encoder(picture.make_picture_tower(manifest.picture), towers, manifest)


def _name_model(part: PartParams) -> tuple[str, str | None]:
    return part.name, part.weights
