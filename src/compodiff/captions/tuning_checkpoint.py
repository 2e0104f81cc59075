"""Checkpoints of a fine-tuning: the trained weights and AdamW's moments, as one safetensors file.

The step and what the training is of stand in the file's header, so that the rename of one file is the checkpoint.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from compodiff.errors import CheckpointMismatch
from compodiff.storage.atomic import replace_path
from compodiff.storage.ownership import delete_file, make_signature, require_replaceable_file

LANGUAGE_MODEL, KIND = "language model", "checkpoint of a fine-tuning"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
Trained = Sequence[tuple[str, nn.Parameter]]


@dataclass(frozen=True)
class TuningCheckpoint:
    """Where a training's last checkpoint lies.

    Attributes:
        path: the file, removed when the model is written.
        training: what decides the weights (JSON types): params, rows, model; another training does not go on from it.
    """

    path: Path
    training: Mapping[str, Any]

    def save(self, trained: Trained, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Write the state after `step` steps, whole or not at all."""
        tensors = {f"{name}/weight": it.detach().contiguous() for name, it in trained}
        for name, it in trained:
            tensors |= {f"{name}/{moment}": optimizer.state[it][moment].contiguous() for moment in MOMENTS}
        header = {
            "written_by": make_signature(KIND),
            "step": str(step),
            "training": json.dumps(dict(self.training), sort_keys=True),
        }
        with replace_path(self.path, KIND) as temporary:
            save_file(tensors, temporary, metadata=header)

    def load(self, trained: Trained, optimizer: torch.optim.Optimizer) -> int:
        """Restore the last checkpoint, where there is one; return how many steps are done.

        Raises:
            CheckpointMismatch: it is of another training, or damaged.
            InputInvalid: something of somebody's is there.
        """
        require_replaceable_file(self.path, KIND)
        if not self.path.exists():
            return 0
        try:
            with safe_open(self.path, framework="pt") as file:
                header = file.metadata()
                if json.loads(header["training"]) != dict(self.training):
                    raise CheckpointMismatch(f"{self.path} is of another training; delete it to start afresh")
                for name, it in trained:
                    with torch.no_grad():
                        it.copy_(file.get_tensor(f"{name}/weight"))
                    moments = {moment: file.get_tensor(f"{name}/{moment}") for moment in MOMENTS}
                    optimizer.state[it] = {
                        key: value.to(it.device if value.ndim else "cpu") for key, value in moments.items()
                    }
                return int(header["step"])
        except SafetensorError as error:
            raise CheckpointMismatch(f"{self.path} is damaged ({error}); delete it to start afresh") from error

    def remove(self) -> None:
        """Remove the checkpoint: the model is written."""
        delete_file(self.path, KIND)
