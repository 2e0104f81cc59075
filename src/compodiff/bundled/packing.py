"""Pack a model for the wheel: its trained tensors in half precision, and the pictures and queries of `compodiff demo`.

The towers of the default encoder are left out, as they are files of packages that the wheel depends on. Rounding makes
another encoder of it, with a digest of its own: an index of the model as it was is not one of the model as packed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from compodiff.bundled import DESCRIPTION, WEIGHTS
from compodiff.bundled.packaged import read_packaged_tensors
from compodiff.bundled.unpacking import (
    COMPOSED,
    EDITS,
    ENCODER,
    SCALE,
    widen_tensors,
    write_edit_maps,
    write_encoder_weights,
)
from compodiff.encoders.edit_maps import FILE as EDIT_MAPS
from compodiff.encoders.edit_maps import RECORD as EDITS_DIGEST
from compodiff.encoders.loading import MANIFEST as ENCODER_MANIFEST
from compodiff.encoders.loading import WEIGHTS as ENCODER_WEIGHTS
from compodiff.encoders.manifest import EMBEDDED, EncoderManifest
from compodiff.errors import InputInvalid
from compodiff.model.checkpoint import WEIGHTS as MODEL_WEIGHTS
from compodiff.model.checkpoint import load_model, read_tensors
from compodiff.model.dials import read_dials
from compodiff.storage.atomic import write_json
from compodiff.storage.digests import digest_bytes, digest_file
from compodiff.storage.json_files import read_json
from compodiff.storage.scratch import open_scratch

_LARGEST = float(torch.finfo(torch.float16).max)
# Kept in eight bits and a scale for each row: what a text is compared with, and what edits do.
_ROUGH = ("text.proj.descriptions", "text.proj.directions")
_ROUGH_EDITS = ("down", "up")


def pack_model(composed: Path, encoder: Path, folder: Path, *, version: str, demo: Mapping[str, Any]) -> str:
    """Write the packed form of a model to `folder`, and return its name.

    Args:
        composed: the model's folder; sampling.json stands beside it.
        encoder: the folder of its encoder.
        folder: an existing one.
        version: what the model is, in words.
        demo: pictures and queries of the demonstration, see `choose_demo`.

    Raises:
        InputInvalid: the encoder is not the default one, whose towers packages bring, or the model has no dials.
        CheckpointMismatch: a file of the model is damaged.
    """
    _, card = load_model(composed)
    manifest = EncoderManifest.from_json(read_json(encoder / ENCODER_MANIFEST))
    dials = read_dials(composed, card)
    if any(part.library != EMBEDDED for part in manifest.parts) or dials is None:
        raise InputInvalid(f"{encoder.parent} cannot be packed: it has another encoder than the default, or no dials")
    trained, towers = _divide_tensors(encoder / ENCODER_WEIGHTS)
    packed = _halve(ENCODER, trained) | _halve(COMPOSED, read_tensors(composed / MODEL_WEIGHTS))
    if EDITS_DIGEST in manifest.record:
        packed |= _round(EDITS, read_tensors(encoder / EDIT_MAPS), _ROUGH_EDITS)
    safetensors.torch.save_file(packed, folder / WEIGHTS)
    with open_scratch() as temporary:
        rounded = temporary / ENCODER_WEIGHTS
        write_encoder_weights(rounded, widen_tensors(packed, ENCODER), towers)
        digest = digest_file(rounded)
        edits = write_edit_maps(temporary, packed)
    manifest = replace(
        manifest,
        picture=replace(manifest.picture, weights_digest=digest),
        texts=tuple(replace(part, weights_digest=digest) for part in manifest.texts),
    )
    if edits is not None:
        manifest = replace(manifest, record={**manifest.record, EDITS_DIGEST: edits})
    said = {"encoder": manifest.to_json(), "towers": towers, "sampling": dials.model_dump()}
    said["card"] = replace(card, encoder=manifest.to_json()).to_json()
    content = json.dumps([said, digest_file(folder / WEIGHTS)], sort_keys=True)
    name = f"compodiff-{digest_bytes(content.encode())[:12]}"
    write_json(folder / DESCRIPTION, {**said, "name": name, "version": version, "demo": demo})
    return name


def _divide_tensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of an encoder that no package brings as they are, and the names of those that one does."""
    packaged, own = read_packaged_tensors(), read_tensors(path)
    towers = [name for name in sorted(own) if name in packaged and torch.equal(own[name], packaged[name])]
    return {name: tensor for name, tensor in own.items() if name not in towers}, towers


def _halve(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in half precision under names with a prefix, some in eight bits; those of whole numbers as is.

    Raises:
        InputInvalid: a value is too large for it.
    """
    halves = _round(prefix, {name: tensor for name, tensor in tensors.items() if name in _ROUGH}, _ROUGH)
    tensors = {name: tensor for name, tensor in tensors.items() if name not in _ROUGH}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and float(tensor.abs().max()) > _LARGEST:
            raise InputInvalid(f"{name} holds a value beyond {_LARGEST:g}, which half precision cannot hold")
        halves[f"{prefix}{name}"] = tensor.half() if tensor.is_floating_point() else tensor
    return halves


def _round(prefix: str, tensors: Mapping[str, Tensor], rough: Sequence[str]) -> dict[str, Tensor]:
    """Return tensors under names with a prefix: rough ones in eight bits with a scale a row, others as they are."""
    packed = {}
    for name, tensor in tensors.items():
        packed[f"{prefix}{name}"] = tensor
        if name in rough:
            largest = tensor.float().abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float16).tiny)
            scale = (largest / 127).half()
            packed[f"{prefix}{name}"] = (tensor.float() / scale.float()).round().clamp(-127, 127).to(torch.int8)
            packed[f"{prefix}{name}{SCALE}"] = scale
    return packed


def choose_demo(queries: Sequence[Mapping[str, Any]], names: Mapping[str, str], count: int) -> dict[str, Any]:
    """Return the pictures and the queries of the demonstration: those of the queries first, then others, evenly spread.

    Args:
        queries: lines of a benchmark's queries, see catalogue/emoji_benchmark.py.
        names: of the gallery's pictures, by picture_id.
        count: how many pictures, at least those of the queries.
    """
    asked = [{**query, "targets": list(query["targets"])[:3]} for query in queries]
    chosen = {each for query in asked for each in (query["reference"], *query["targets"])}
    others = [each for each in names if each not in chosen]
    step = max(1, len(others) // max(1, count - len(chosen)))
    chosen.update(others[::step][: max(0, count - len(chosen))])
    return {"pictures": {each: names[each] for each in sorted(chosen)}, "queries": asked}
