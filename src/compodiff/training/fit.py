"""One stage of training from end to end: a denoiser and examples in, a model folder and a curve out."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from compodiff.errors import InputInvalid
from compodiff.model.checkpoint import KIND, ModelCard, save_model
from compodiff.model.network.composing import ComposingNetwork, DenoiserConfig
from compodiff.model.network.networks import make_network
from compodiff.params import TrainingParams
from compodiff.precision import choose_precision
from compodiff.storage.ownership import require_replaceable_folder
from compodiff.training.batches import Batches
from compodiff.training.curve import CurveQueries, gather_queries, measure
from compodiff.training.distillation import make_teacher
from compodiff.training.engine import Engine, TrainingProcess, join_workers
from compodiff.training.examples import TARGET, Mixture
from compodiff.training.loop import Training, train
from compodiff.training.resume import Checkpoints, digest_weights
from compodiff.training.tasks import Objective

PICTURES_SAMPLED = 32_768  # of a set at most, for mean and spread of its embeddings
# What no loss depends on: a checkpoint goes on where these have changed.
_NO_LOSS_DEPENDS_ON = {"accumulation_steps", "checkpoint_every", "validate_every", "curve", "tasks"}
SMALLEST_SPREAD = 1e-3  # of the mean spread: a dimension that hardly varies is not blown up


@dataclass(frozen=True)
class TrainingMaterial:
    """What a stage learns from and is measured on."""

    mixture: Mixture
    queries: CurveQueries


def fit(
    denoiser: ComposingNetwork,
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
        CheckpointMismatch: there is a checkpoint of this training on another machine.
        ResourceUnavailable: the disk is full, or another training writes there now.
    """
    require_replaceable_folder(folder, KIND)
    worker = join_workers()
    average = deepcopy(denoiser).to(worker.device).requires_grad_(requires_grad=False)
    queries = gather_queries(material.queries, worker.device)
    aim = make_teacher(denoiser, card.process, params)
    known = make_identity(denoiser, card, material, params, worker)
    training = Training(
        params=params,
        batches=Batches(material.mixture, params, card.process),
        engine=Engine(Objective(denoiser, params, card.process, aim), params, worker),
        average=average,
        measure=lambda: measure(average, queries, card.process, seed=params.seed),
        checkpoints=Checkpoints(folder.with_name(f"{folder.name}.partial"), known),
        curve=curve,
        on_metrics=on_metrics,
    )
    try:
        train(training)
        if worker.is_main:
            save_model(folder, average.state_dict(), card)
            training.checkpoints.remove()
        training.engine.wait_for_all()
    finally:
        training.checkpoints.release()


def make_denoiser(
    config: DenoiserConfig, material: TrainingMaterial, *, standardise: bool, seed: int
) -> ComposingNetwork:
    """Make the network that `config` names, with random weights.

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
        denoiser = make_network(config)
    pictures = _sample_pictures(material.mixture)
    if not np.isfinite(pictures).all():
        raise InputInvalid("an embedding holds NaN or infinity; run: dvc repro --single-item --force embed@NAME")
    if standardise:
        spread = pictures.std(0)
        denoiser.constants.embedding_mean.copy_(torch.from_numpy(pictures.mean(0)))
        denoiser.constants.embedding_std.copy_(torch.from_numpy(np.maximum(spread, SMALLEST_SPREAD * spread.mean())))
    return denoiser


def make_identity(
    denoiser: ComposingNetwork,
    card: ModelCard,
    material: TrainingMaterial,
    params: TrainingParams,
    worker: TrainingProcess,
) -> dict[str, Any]:
    """List all that decides the losses, flat; a checkpoint of another identity is set aside."""
    given = params.model_dump(exclude=_NO_LOSS_DEPENDS_ON)
    if params.learning_rate_schedule == "constant":
        del given["steps"]  # a training may be lengthened where its learning rate does not depend on its length
    known = {
        **_flatten(given),
        "precision": choose_precision(params.precision, worker.device),
        "num_train_timesteps": card.process.num_train_timesteps,
        "data": material.mixture.digest,
        "weights at the start": digest_weights(denoiser),
    }
    if params.zero_stage > 0:
        known["processes"] = worker.world_size  # each holds its part of the optimizer
    return known


def _sample_pictures(mixture: Mixture) -> NDArray[np.float64]:
    """Gather the pictures that texts are to find, some of each set where it has many: (n, D)."""
    found = []
    for of_set in mixture.sets:
        if of_set.name in mixture.shares["text_to_image"]:
            table = of_set.open_table("text_to_image")
            targets = np.unique(table[:: max(1, ceil(len(table) / PICTURES_SAMPLED)), TARGET])
            found.append(of_set.embeddings.read_images(targets).astype(np.float64))
    return np.concatenate([np.empty((0, mixture.embedding_dim)), *found])


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= {f"{key}.{inner}": part for inner, part in value.items()} if isinstance(value, dict) else {key: value}
    return flat
