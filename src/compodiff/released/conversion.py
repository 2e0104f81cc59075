"""Model folders in the released form, read and written: `compodiff convert`."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from compodiff.errors import CheckpointMismatch, InputInvalid
from compodiff.model.checkpoint import CARD, WEIGHTS, ModelCard, load_model, load_weights, read_tensors, save_model
from compodiff.model.network.denoiser import Denoiser
from compodiff.model.sampling.process import Process
from compodiff.released.torch_file import SUFFIXES, read_torch_file
from compodiff.released.weights import PREFIX, convert_from_released, convert_to_released
from compodiff.storage.atomic import replace_folder, write_json
from compodiff.storage.json_files import read_json
from compodiff.storage.ownership import require_apart

RELEASED = "released weights"


def import_released(released: Path, out: Path) -> ModelCard:
    """Convert a released checkpoint's folder into a model folder of ours.

    Raises:
        InputInvalid: there is no such folder.
        CheckpointMismatch: the weights would run code, are cut short, or not the released architecture.
    """
    require_apart(out, released)
    weights, card = read_released(released)
    save_model(out, weights, card)
    return card


def read_released(released: Path) -> tuple[dict[str, Tensor], ModelCard]:
    """Read a released checkpoint's folder: our state dict, and a card that names no encoder.

    Raises:
        InputInvalid, CheckpointMismatch: as `import_released`.
    """
    file = _find_weights_file(released)
    read = read_torch_file if file.suffix in SUFFIXES else read_tensors
    config, num_train_timesteps, weights = convert_from_released(read(file))
    with torch.device("meta"):
        denoiser = Denoiser(config)
    load_weights(denoiser, weights, file)
    card = ModelCard(config, Process("diffusion", num_train_timesteps), None, {"released": file.name})
    _require_config(released / CARD, card)
    return weights, card


def export_released(folder: Path, out: Path) -> None:
    """Write a model folder of ours in the released form, with the hub folder's `model.` prefix.

    Raises:
        CheckpointMismatch: the model has options that the released form does not know.
    """
    require_apart(out, folder)
    denoiser, card = load_model(folder)
    if card.process.objective != "diffusion":
        raise CheckpointMismatch(f"{folder} was trained for {card.process.objective}; the released form is diffusion")
    tensors = convert_to_released(card.denoiser, card.process.num_train_timesteps, denoiser.state_dict())
    with replace_folder(out, RELEASED) as temporary:
        named = {f"{PREFIX}{name}": tensor.contiguous() for name, tensor in tensors.items()}
        save_file(named, temporary / WEIGHTS, metadata={"format": "pt"})
        write_json(temporary / CARD, {"model_type": "CompoDiff"} | _describe_shape(card))


def _find_weights_file(released: Path) -> Path:
    """Return the one file of weights: safetensors where there is one, else what torch wrote."""
    if not released.is_dir():
        raise InputInvalid(f"{released} is not a folder; give the downloaded checkpoint's folder")
    for suffixes in ((".safetensors",), SUFFIXES):
        files = sorted(file for file in released.iterdir() if file.suffix in suffixes)
        if len(files) == 1:
            return files[0]
        if files:
            raise CheckpointMismatch(f"{released} holds {len(files)} files of weights; leave one of them there")
    raise CheckpointMismatch(f"{released} holds no weights; it is published as pytorch_model.bin and config.json")


def _describe_shape(card: ModelCard) -> dict[str, int]:
    """Return what the released config.json says of a network."""
    shape = card.denoiser
    sizes = {"embed_dim": shape.embedding_dim, "model_depth": shape.depth, "model_dim": shape.head_width}
    return sizes | {"model_heads": shape.heads, "timesteps": card.process.num_train_timesteps}


def _require_config(path: Path, card: ModelCard) -> None:
    """Check that the config.json beside the weights, where there is one, is theirs.

    Raises:
        CheckpointMismatch: it says another size than the weights have.
    """
    if not path.is_file():
        return
    said = read_json(path)
    if not isinstance(said, dict):
        raise CheckpointMismatch(f"{path} is not a configuration; fetch it again")
    for name, size in _describe_shape(card).items():
        if said.get(name, size) != size:
            raise CheckpointMismatch(f"{path} says {name} {said[name]}, the weights have {size}; fetch both again")
