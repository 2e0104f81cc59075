"""What the training stages share: the machine's precision, and the material that the stage mix checked."""

import os
import sys
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from compodiff.embeddings import TextTower
from compodiff.params import TrainingParams
from compodiff.precision import choose_device, choose_precision, describe_choice
from compodiff.training.curve import CurveQueries
from compodiff.training.fit import TrainingMaterial
from compodiff.training.mixture import CURVE, load_mixture

Training = TypeVar("Training", bound=TrainingParams)


def choose_training_precision(params: Training, stage: str) -> Training:
    """Return `params` with the precision that this machine trains in, and say which: model card and run name it.

    Args:
        params: of a training.
        stage: named in what is said.
    """
    device = choose_device()
    if os.environ.get("RANK", "0") == "0":
        count = int(os.environ.get("WORLD_SIZE", "1"))
        shared = f"; {count} processes take {params.batch_size // count} rows of each batch" if count > 1 else ""
        tqdm.write(f"{stage} computes in {describe_choice(params.precision, device)}{shared}", file=sys.stderr)
    return params.model_copy(update={"precision": choose_precision(params.precision, device)})


def load_material(mixture: Path, embeddings: Path, validated: Path, encoder: Path) -> TrainingMaterial:
    """Open what a training learns from and is measured on, as the stage mix checked it.

    Args:
        mixture: folder that the stage mix wrote.
        embeddings: folder of the embeddings of sets.
        validated: folder of the validated sets.
        encoder: folder of the encoder, which computes token states of texts where a set stores none.

    Raises:
        InputInvalid: a set was made anew or removed since.
        EncoderMismatch: the encoder is not the one that embedded a set without token states.
    """
    opened = load_mixture(mixture, embeddings, validated, TextTower(encoder))
    return TrainingMaterial(opened, CurveQueries.load(mixture / CURVE))
