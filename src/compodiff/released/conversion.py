"""Model folders in the released form, read and written: `compodiff convert`."""

from pathlib import Path

from safetensors.torch import save_file

from compodiff.errors import CheckpointMismatch, InputInvalid
from compodiff.model.checkpoint import CARD, WEIGHTS, ModelCard, load_model, load_weights, read_tensors, save_model
from compodiff.model.network.denoiser import Denoiser
from compodiff.model.sampling.process import Process
from compodiff.released.weights import PREFIX, convert_from_released, convert_to_released
from compodiff.storage.atomic import replace_folder, write_json
from compodiff.storage.ownership import require_apart

RELEASED = "released weights"

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def import_released(released: Path, out: Path) -> ModelCard:
    """Convert a released checkpoint's folder into a model folder of ours.

    Raises:
        InputInvalid: there is no such folder.
        CheckpointMismatch: the weights are a pickle, cut short, or not the released architecture.
    """
    require_apart(out, released)
    file = _find_weights_file(released)
    config, num_train_timesteps, weights = convert_from_released(read_tensors(file))
    load_weights(Denoiser(config), weights, file)
    card = ModelCard(config, Process("diffusion", num_train_timesteps), None, {"released": file.name})
    save_model(out, weights, card)
    return card


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
    shape = card.denoiser
    with replace_folder(out, RELEASED) as temporary:
        named = {f"{PREFIX}{name}": tensor.contiguous() for name, tensor in tensors.items()}
        save_file(named, temporary / WEIGHTS, metadata={"format": "pt"})
        config = {"model_type": "CompoDiff", "embed_dim": shape.embedding_dim, "model_depth": shape.depth}
        heads = {"model_dim": shape.head_width, "model_heads": shape.heads}
        write_json(temporary / CARD, config | heads | {"timesteps": card.process.num_train_timesteps})


def _find_weights_file(released: Path) -> Path:
    if not released.is_dir():
        raise InputInvalid(f"{released} is not a folder; give the downloaded checkpoint's folder")
    files = sorted(released.glob("*.safetensors"))
    if len(files) == 1:
        return files[0]
    if files:
        raise CheckpointMismatch(f"{released} holds {len(files)} safetensors files; leave one of them there")
    pickles = [file.name for file in sorted(released.iterdir()) if file.suffix in PICKLES]
    if pickles:
        raise CheckpointMismatch(
            f"{released} holds {pickles[0]}, a pickle, which can run code; fetch model.safetensors"
        )
    raise CheckpointMismatch(f"{released} holds no safetensors file; fetch model.safetensors")
