"""Encoders put together from parts, and a folder of one: manifest.json, and the weights that no hub's cache holds."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from compodiff.encoders import embedded
from compodiff.encoders.digests import digest_weights_of
from compodiff.encoders.edit_maps import RECORD, EditMaps, load_edit_maps
from compodiff.encoders.embedded_towers import HuggingFaceTexts, LaterPictures, StagedPictures
from compodiff.encoders.encoder import Encoder
from compodiff.encoders.manifest import EMBEDDED, EncoderManifest, PicturePart, TextPart
from compodiff.encoders.named_classes import make_room_for_classes
from compodiff.encoders.opening import OpenedModels
from compodiff.encoders.sources import Source, find_listed_source, find_source, find_stored_source
from compodiff.encoders.towers import PictureTower, TextTower
from compodiff.errors import EncoderMismatch, InputInvalid
from compodiff.params import PartParams
from compodiff.storage.atomic import replace_folder, write_json
from compodiff.storage.digests import digest_file

KIND = "encoder"
WEIGHTS, MANIFEST = "model.safetensors", "manifest.json"
# What a library's folder has beside its weights.
_SMALL = (".json", ".txt", ".model", ".jinja")
_REMEDY = "run: dvc repro train_encoder"


def assemble_encoder(picture: PartParams, texts: Sequence[PartParams]) -> Encoder:
    """Return the encoder of these parts; a text part of the picture part's model is its joint text.

    Raises:
        InputInvalid: a library does not know a model, or it cannot be such a part.
        ResourceUnavailable: weights could not be loaded.
        CheckpointMismatch: weights are of another architecture.
    """
    models = OpenedModels()
    sources = [find_source(asked) for asked in (picture, *texts)]
    picture_part = models.describe_picture(sources[0])
    picture_tower = models.load_picture(picture_part, sources[0])
    text_parts = [models.describe_text(source, asked) for source, asked in zip(sources[1:], texts, strict=True)]
    towers = [models.load_text(part, source) for part, source in zip(text_parts, sources[1:], strict=True)]
    joint = _find_joint(picture_part, sources, texts, towers)
    return Encoder(picture_tower, towers, EncoderManifest(picture_part, tuple(text_parts), joint))


def open_clip_encoder(name: str, *, pretrained: str | Path | None) -> Encoder:
    """Return the encoder of both towers of one model of open_clip's list; see `find_listed_source`."""
    models = OpenedModels()
    source = find_listed_source(name, None if pretrained is None else str(pretrained))
    picture = models.describe_picture(source)
    text = models.describe_text(source, PartParams(name=name))
    manifest = EncoderManifest(picture, (text,), joint=0)
    return Encoder(models.load_picture(picture, source), [models.load_text(text, source)], manifest)


def _find_joint(
    picture: PicturePart, sources: Sequence[Source], texts: Sequence[PartParams], towers: Sequence[TextTower]
) -> int | None:
    """Return which text part embeds texts among pictures: one that says so, else the first of the pictures' model."""
    said = [number for number, asked in enumerate(texts) if asked.joint]
    if len(said) > 1:
        raise InputInvalid(f"{len(said)} text parts are said to be joint; only one can embed texts among pictures")
    for number in said:
        width = towers[number].pooled_width
        if width != picture.embedding_dim:
            raise InputInvalid(
                f"the text part {texts[number].name} cannot be joint: it embeds texts in {width} dimensions, "
                f"{picture.name} pictures in {picture.embedding_dim}"
            )
        return number
    can = [
        number
        for number, asked in enumerate(texts)
        if asked.joint is None and sources[number + 1] == sources[0] and towers[number].pooled_width
    ]
    return can[0] if can else None


def save_encoder(encoder: Encoder, folder: Path) -> EncoderManifest:
    """Write the encoder to `folder`, whole or not at all; its manifest gets the digest of the weights as written.

    Weights that the hub's cache holds stay there: the manifest names them.
    """
    manifest = encoder.manifest
    digests: dict[object, str] = {}  # by model: parts may share one
    with replace_folder(folder, KIND) as temporary:
        for part, tower in zip(manifest.parts, encoder.towers, strict=True):
            if part.hub_id is None and _identify(tower) not in digests:
                stem = temporary / name_model(len(set(digests.values())))
                digests[_identify(tower)] = _write_weights(tower, stem, part.library)
        picture, *texts = (
            digests.get(_identify(tower), part.weights_digest)
            for part, tower in zip(manifest.parts, encoder.towers, strict=True)
        )
        manifest = replace(
            manifest,
            picture=replace(manifest.picture, weights_digest=picture),
            texts=tuple(replace(part, weights_digest=own) for part, own in zip(manifest.texts, texts, strict=True)),
        )
        if encoder.edits is not None:
            manifest = replace(manifest, record={**manifest.record, RECORD: encoder.edits.save(temporary)})
        write_json(temporary / MANIFEST, manifest.to_json())
    return manifest


def name_model(number: int) -> str:
    """Return under which name, without its end, an encoder's folder holds its model of this number."""
    return "model" if number == 0 else f"model-{number}"


def load_encoder(folder: Path, *, whole: bool = True) -> Encoder:
    """Read an encoder that `save_encoder` wrote.

    Args:
        folder: of the encoder.
        whole: also the image tower, which the default encoder can open for the first picture instead.

    Raises:
        InputInvalid: the folder holds no encoder.
        EncoderMismatch: the weights are not those the manifest was written for.
        ResourceUnavailable: a part is not in the hub's cache; the message names the command that fetches it.
    """
    manifest = _read_manifest(folder)
    saved: dict[str, Path] = {}  # by digest
    for part in manifest.parts:
        if part.hub_id is None and part.weights_digest not in saved:
            saved[part.weights_digest] = _find_saved(folder / name_model(len(saved)))
    sources = [find_stored_source(part, saved.get(part.weights_digest, folder)) for part in manifest.parts]
    for part, source in zip(manifest.parts, sources, strict=True):
        _require_digest(source, part)
    if manifest.picture.library == EMBEDDED:
        load = _load_embedded if whole else _load_embedded_texts
        encoder = load(saved[manifest.picture.weights_digest], manifest)
    else:
        models = OpenedModels()
        picture = models.load_picture(manifest.picture, sources[0])
        texts = [models.load_text(part, source) for part, source in zip(manifest.texts, sources[1:], strict=True)]
        encoder = Encoder(picture, texts, manifest)
    encoder.edits = load_edit_maps(folder, manifest.record)
    return encoder


def read_edit_maps(folder: Path) -> EditMaps | None:
    """Read what the encoder in `folder` knows edits of whole pictures to do, without its weights.

    Raises:
        InputInvalid, EncoderMismatch: see `load_encoder`.
    """
    return load_edit_maps(folder, _read_manifest(folder).record)


def _read_manifest(folder: Path) -> EncoderManifest:
    try:
        content: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError) as error:
        raise InputInvalid(f"{folder} holds no encoder ({error}); {_REMEDY}") from error
    return EncoderManifest.from_json(content)


def _identify(tower: PictureTower | TextTower) -> object:
    """Return what two towers of one model have in common."""
    return tower.folder or id(tower.module)


def _write_weights(tower: PictureTower | TextTower, stem: Path, library: str) -> str:
    """Write the model of a tower, as a file or as its library's folder; return its digest."""
    if tower.folder is None:
        path = stem.with_name(f"{stem.name}.safetensors")
        state = {name: tensor.contiguous() for name, tensor in tower.module.state_dict().items()}
        safetensors.torch.save_file(state, path)
        return digest_file(path)
    stem.mkdir()
    for path in sorted(tower.folder.rglob("*")):
        if path.is_file() and path.suffix in (".safetensors", *_SMALL):
            copy = stem / path.relative_to(tower.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return digest_weights_of(Source(library, stem.name, stem))


def _find_saved(stem: Path) -> Path:
    """Return the file or folder that holds a model.

    Raises:
        InputInvalid: neither is there.
    """
    path = stem if stem.is_dir() else stem.with_name(f"{stem.name}.safetensors")
    if not path.exists():
        raise InputInvalid(f"{path.parent} holds no encoder (no {path.name}); {_REMEDY}")
    return path


def _require_digest(source: Source, part: PicturePart | TextPart) -> None:
    """Refuse weights that are not those of a part.

    Raises:
        EncoderMismatch: they are others.
    """
    digest = digest_weights_of(source)
    if digest == part.weights_digest:
        return
    found = f"{digest[:12]}, its manifest names {part.weights_digest[:12]}"
    if part.hub_id is not None:
        raise EncoderMismatch(
            f"the cached weights of {part.hub_id} are not those of this encoder ({found}); "
            f"run: compodiff get {part.hub_id}@{part.revision}"
        )
    raise EncoderMismatch(
        f"{source.folder or source.weights} is damaged or of another run ({found}); {_REMEDY} --force"
    )


def _load_embedded(weights: Path, manifest: EncoderManifest) -> Encoder:
    picture = manifest.picture
    state = safetensors.torch.load_file(weights)
    model = embedded.build_model(
        embedding_dim=picture.embedding_dim,
        image_size=picture.image_size,
        grids=picture.grids,
        class_dimensions=picture.class_dimensions,
    )
    model.text.proj = make_room_for_classes(model.text.proj, state)
    model.load_state_dict(state)
    return embedded.join_towers(model, manifest)


def _load_embedded_texts(weights: Path, manifest: EncoderManifest) -> Encoder:
    """Return the default encoder, whose image tower is read when it is needed, from the file as it is now."""
    file, picture = safetensors.safe_open(weights, "pt"), manifest.picture  # open: another may take its place
    state = _read_side(file, "text.")
    model: Any = embedded.build_text_model(manifest.learned_dim)
    model.text.proj = make_room_for_classes(model.text.proj, state)
    model.load_state_dict(state, assign=True)

    def load_pictures() -> StagedPictures:
        with torch.device("meta"):
            pictures = embedded.build_picture_model(
                embedding_dim=picture.embedding_dim, grids=picture.grids, class_dimensions=picture.class_dimensions
            )
        pictures.load_state_dict(_read_side(file, "visual."), assign=True)
        return StagedPictures(pictures, picture)

    texts = HuggingFaceTexts(model, embedded.build_quick_tokenizer(), manifest.texts[0])
    return Encoder(LaterPictures(load_pictures), [texts], manifest)


def _read_side(file: Any, prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin so, copied: torch's products of mapped ones may differ in the last bit."""
    return {name: file.get_tensor(name).clone() for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
