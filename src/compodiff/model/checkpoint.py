"""A model on disk: model.safetensors (the averaged weights) and config.json (its card), whole or not at all.

Nothing is unpickled: a file in torch's pickle format is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from compodiff.errors import CheckpointMismatch
from compodiff.model.network.composing import ComposingNetwork, DenoiserConfig
from compodiff.model.network.networks import make_network
from compodiff.model.sampling.process import Process
from compodiff.storage.atomic import replace_folder, write_json

KIND = "model"
WEIGHTS, CARD = "model.safetensors", "config.json"


@dataclass(frozen=True)
class ModelCard:
    """What a model is besides its weights.

    encoder: the manifest of the encoder whose embeddings it works on, as JSON; None where it is not known (released
    weights). trained_with: the sections of params.yaml that made it, as JSON.
    """

    denoiser: DenoiserConfig
    process: Process
    encoder: dict[str, Any] | None = None
    trained_with: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {**asdict(self), "denoiser": self.denoiser.to_json()}

    def list_sets(self) -> list[str]:
        """Return the names of the sets that it was trained on, where that is known."""
        tasks = self.trained_with.get("composed", {}).get("tasks", {})
        return sorted({name for sets in tasks.values() for name in sets})

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ModelCard":
        """Return the inverse of `to_json`; TypeError or KeyError where a key is unknown or missing."""
        shape, process = DenoiserConfig.from_json(content["denoiser"]), Process(**content["process"])
        return cls(shape, process, content["encoder"], content["trained_with"])


def save_model(folder: Path, weights: Mapping[str, Tensor], card: ModelCard) -> None:
    """Write `folder` with the weights (a state dict of a network, any device) in float32 and the card.

    Raises:
        ResourceUnavailable: the disk is full; an earlier `folder` is left as it was.
        CheckpointMismatch: a weight is NaN or infinite.
    """
    tensors = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in weights.items()}
    _require_finite(tensors, folder)
    with replace_folder(folder, KIND) as temporary:
        save_file(tensors, temporary / WEIGHTS)
        write_json(temporary / CARD, card.to_json())


def load_model(folder: Path) -> tuple[ComposingNetwork, ModelCard]:
    """Read a model folder.

    Returns:
        The network on the CPU in float32, in eval mode, and its card.

    Raises:
        CheckpointMismatch: a file is missing, cut short or not what it says, the weights are of another shape than the
            card says, a tensor is missing or too many, or a weight is NaN or infinite.
    """
    card = _read_card(folder / CARD)
    with torch.device("meta"):
        denoiser = make_network(card.denoiser)
    load_weights(denoiser, read_tensors(folder / WEIGHTS), folder)
    return denoiser.eval().requires_grad_(False), card


def load_weights(denoiser: ComposingNetwork, tensors: Mapping[str, Tensor], origin: Path) -> None:
    """Put `tensors` into the denoiser (which may be on the meta device), each checked first.

    Raises:
        CheckpointMismatch: names or shapes differ, or a weight is NaN or infinite; `origin` is named.
    """
    expected = {name: tensor.shape for name, tensor in denoiser.state_dict().items()}
    for what, names in (("lacks", set(expected) - set(tensors)), ("has unknown", set(tensors) - set(expected))):
        if names:
            raise CheckpointMismatch(f"{origin} {what} {len(names)} tensors, such as {min(names)}")
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            found, wanted = (" x ".join(map(str, each)) for each in (tensors[name].shape, shape))
            raise CheckpointMismatch(f"{origin}: {name} is {found}, the network needs {wanted}")
    _require_finite(tensors, origin)
    denoiser.load_state_dict(dict(tensors), assign=True)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointMismatch: the file is missing, cut short, or not safetensors.
    """
    try:
        return dict(load_file(path))
    except FileNotFoundError as error:
        raise CheckpointMismatch(f"{path} is not there; a model folder holds {WEIGHTS} and {CARD}") from error
    except SafetensorError as error:
        size = path.stat().st_size
        raise CheckpointMismatch(f"{path} ({size} bytes) is cut short or not safetensors; fetch it again") from error


def _read_card(path: Path) -> ModelCard:
    try:
        return ModelCard.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise CheckpointMismatch(f"{path} is not there; a model folder holds {WEIGHTS} and {CARD}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointMismatch(f"{path} is not a model card of this version: {error}") from error


def _require_finite(tensors: Mapping[str, Tensor], origin: Path) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointMismatch(f"{origin}: {name} holds NaN or infinity; take an earlier checkpoint")
