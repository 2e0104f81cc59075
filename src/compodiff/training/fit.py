"""One stage of training from end to end: a denoiser and examples in, a model folder and a curve out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compodiff.embeddings import Embeddings
from compodiff.errors import InputInvalid
from compodiff.model.checkpoint import KIND, ModelCard, save_model
from compodiff.model.network.denoiser import Denoiser, DenoiserConfig
from compodiff.params import TrainingParams
from compodiff.precision import choose_precision
from compodiff.storage.ownership import require_replaceable_folder
from compodiff.training.batches import Batches
from compodiff.training.curve import ValidationQuery, gather_queries, measure
from compodiff.training.distillation import make_teacher
from compodiff.training.engine import Engine, TrainingProcess, join_workers
from compodiff.training.examples import TARGET, TrainingExamples
from compodiff.training.loop import Training, train
from compodiff.training.resume import Checkpoints, digest, digest_weights
from compodiff.training.tasks import Objective

ROWS_DIGESTED = 1024
SMALLEST_SPREAD = 1e-3  # of the mean spread: a dimension that hardly varies is not blown up


@dataclass(frozen=True)
class TrainingMaterial:
    """What a stage learns from and is measured on.

    Attributes:
        embeddings: of all pictures and texts.
        examples: the training split.
        queries: of the validation concepts; all with a reference, or all without.
        gallery: the picture ids that they rank.
    """

    embeddings: Embeddings
    examples: TrainingExamples
    queries: Sequence[ValidationQuery]
    gallery: Sequence[str]


def fit(
    denoiser: Denoiser,
    card: ModelCard,
    material: TrainingMaterial,
    params: TrainingParams,
    *,
    folder: Path,
    curve: Path,
    on_metrics: Callable[[int, Mapping[str, float]], None],
) -> None:
    """Train `denoiser` and write its averaged weights with `card` to `folder`; a killed run goes on where it was.

    Args:
        denoiser: the weights to start from.
        card: what the model will be.
        material: what it learns from.
        params: how.
        folder: the model folder to write; checkpoints stand beside it until it is written.
        curve: the CSV file to write.
        on_metrics: told each point of the curve, on the first process.

    Raises:
        ParamsInvalid: the batch does not divide among the processes, or the loss is not finite.
        InputInvalid: a task has a share but no examples, an embedding is not finite, or `folder` holds something else.
        CheckpointMismatch: there is a checkpoint of another training.
        ResourceUnavailable: the disk is full.
    """
    require_replaceable_folder(folder, KIND)
    worker = join_workers()
    average = deepcopy(denoiser).to(worker.device).requires_grad_(requires_grad=False)
    queries = gather_queries(material.embeddings, material.queries, material.gallery, worker.device)
    aim = make_teacher(denoiser, card.process, params)
    known = make_identity(denoiser, card, material, params, worker)
    training = Training(
        params=params,
        batches=Batches(material.embeddings, material.examples, params, card.process),
        engine=Engine(Objective(denoiser, params, card.process, aim), params, worker),
        average=average,
        measure=lambda: measure(average, queries, card.process, seed=params.seed),
        checkpoints=Checkpoints(folder.with_name(f"{folder.name}.partial"), known),
        curve=curve,
        on_metrics=on_metrics,
    )
    train(training)
    _finish(training, folder, card, worker)


def _finish(training: Training, folder: Path, card: ModelCard, worker: TrainingProcess) -> None:
    """Write the model on the first process, after which its checkpoints serve nothing."""
    if worker.is_main:
        save_model(folder, training.average.state_dict(), card)
        training.checkpoints.remove()
    training.engine.wait_for_all()


def make_denoiser(config: DenoiserConfig, material: TrainingMaterial, *, standardise: bool, seed: int) -> Denoiser:
    """A denoiser with random weights.

    Args:
        config: its shape.
        material: what it will learn from.
        standardise: let it see embeddings with mean 0 and spread 1 in each dimension over the training pictures.
        seed: of the weights.

    Raises:
        InputInvalid: an embedding is NaN or infinite.
    """
    with torch.random.fork_rng(devices=[]):  # torch's layers draw their weights from the global generator
        torch.manual_seed(seed)
        denoiser = Denoiser(config)
    pictures = material.embeddings.pictures[np.unique(material.examples.text_to_image[:, TARGET])].astype(np.float64)
    if not np.isfinite(pictures).all():
        raise InputInvalid("an embedding holds NaN or infinity; run: dvc repro --single-item --force embed")
    if standardise:
        spread = pictures.std(0)
        denoiser.constants.embedding_mean.copy_(torch.from_numpy(pictures.mean(0)))
        denoiser.constants.embedding_std.copy_(torch.from_numpy(np.maximum(spread, SMALLEST_SPREAD * spread.mean())))
    return denoiser


def make_identity(
    denoiser: Denoiser, card: ModelCard, material: TrainingMaterial, params: TrainingParams, worker: TrainingProcess
) -> dict[str, Any]:
    """All that decides the losses, flat; a checkpoint of another identity is refused."""
    known = {
        **_flatten(params.model_dump()),
        "precision": choose_precision(params.precision, worker.device),
        "num_train_timesteps": card.process.num_train_timesteps,
        "data": digest(_sample_examples(material)),
        "weights at the start": digest_weights(denoiser),
    }
    if params.zero_stage > 0:
        known["processes"] = worker.world_size  # each holds its part of the optimizer
    return known


def _sample_examples(material: TrainingMaterial) -> Iterator[bytes]:
    """The examples, and some embeddings: all of them may be many gigabytes."""
    yield str(material.embeddings.encoder.to_json()).encode()
    examples, pictures = material.examples, material.embeddings.pictures
    yield from (table.tobytes() for table in (examples.text_to_image, examples.masked, examples.triplet))
    yield np.ascontiguousarray(pictures[:: max(1, len(pictures) // ROWS_DIGESTED)]).tobytes()


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= {f"{key}.{inner}": part for inner, part in value.items()} if isinstance(value, dict) else {key: value}
    return flat
