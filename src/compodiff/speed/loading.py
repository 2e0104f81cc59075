"""What a rank does before its first step of training, and the loader alone, over arrays as large as the disk takes."""

import os
from collections.abc import Callable
from pathlib import Path

import torch

from compodiff.embeddings.set_arrays import SetEmbeddings
from compodiff.model.network.denoiser import DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.speed.apart import measure, run_apart
from compodiff.speed.figures import Figure
from compodiff.speed.stage_costs import BATCH, TimedStages, describe_training
from compodiff.speed.timing import measure_medians
from compodiff.speed.wide_arrays import SMALL, WIDE, open_material, write_wide_arrays
from compodiff.training.batches import Batches
from compodiff.training.fit import make_denoiser

STEPS, RANKS = 20, 8
_MEANT = 10_000_000  # triplets
_MOST_SECONDS, _MOST_MEGABYTES, _LEAST_ROWS = 10, 1000, 20_000


def measure_training(folder: Path, triplets: int, stages: TimedStages) -> list[Figure]:
    """Measure the start of a training, and the loader, over triplets of which each has a picture of its own.

    Before each, the system forgets what it has read of the arrays: what is asked for comes from the disk, as it does
    where arrays are larger than memory.
    """
    home = folder / "wide"
    run_apart(write_wide_arrays, home, triplets)
    start = run_apart(_measure_cold, _start_training, home, stages)
    cold = run_apart(_measure_cold, _load_batches, home, stages)
    warm = run_apart(measure, _load_batches, home, stages)
    of_many = run_apart(measure, _load_batches, home, stages, RANKS)
    at, other = f"{triplets:,} triplets", "" if triplets == _MEANT else f"at {_MEANT:,}"
    loader = f"loader at batch {BATCH:,}, one rank, rows a second"
    return [
        Figure(f"start of training at {at}, seconds", start.seconds, most=_MOST_SECONDS, at=other),
        Figure(f"start of training at {at}, MB", start.megabytes, most=_MOST_MEGABYTES, at=other),
        Figure(f"{loader}, arrays on disk", BATCH * STEPS / cold.seconds, least=_LEAST_ROWS),
        Figure(f"{loader}, arrays in memory", BATCH * STEPS / warm.seconds, least=_LEAST_ROWS),
        Figure("the same, rows a processor second", BATCH * STEPS / warm.processor_seconds),
        Figure(f"batch of one rank of {RANKS}, processor ms", 1000 * of_many.processor_seconds / STEPS),
        Figure("of which noise of the whole batch, processor ms", 1000 * run_apart(_draw_noise)),
    ]


def _measure_cold(prepare: Callable[..., Callable[[], object]], home: Path, stages: TimedStages) -> object:
    for path in home.rglob("*.npy"):
        _forget(path)
    return measure(prepare, home, stages)


def _forget(path: Path) -> None:
    """Let the system drop what it holds of a file, where it can."""
    if not hasattr(os, "posix_fadvise"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def open_batches(home: Path, stages: TimedStages) -> Batches:
    """Open what a rank reads its batches from."""
    params = describe_training(stages.params.composed, WIDE)
    process = Process(params.objective, stages.params.denoiser.num_train_timesteps)
    return Batches(open_material(home).mixture, params, process)


def _start_training(home: Path, stages: TimedStages) -> Callable[[], object]:
    def work() -> None:
        material, denoiser = open_material(home), stages.params.denoiser
        own: SetEmbeddings = material.mixture.sets[0].embeddings
        width, token_dims = own.encoder.learned_dim, own.encoder.token_dims
        config = DenoiserConfig.of(denoiser, embedding_dim=width, token_dims=token_dims)
        make_denoiser(config, material, standardise=True, seed=17)
        open_batches(home, stages).make_microbatches(0, rank=0, world_size=1)

    return work


def _load_batches(home: Path, stages: TimedStages, ranks: int = 1) -> Callable[[], object]:
    batches = open_batches(home, stages)
    batches.make_microbatches(0, rank=0, world_size=ranks)

    def work() -> None:
        for step in range(1, STEPS + 1):
            batches.make_microbatches(step, rank=0, world_size=ranks)

    return work


def _draw_noise() -> float:
    """Return the median processor seconds of a batch's noise; every rank draws all of it, and keeps its own rows."""
    generator = torch.Generator().manual_seed(17)
    shape = BATCH, SMALL.embedding_dim
    return measure_medians({"noise": lambda: torch.randn(shape, generator=generator)}, STEPS)["noise"]
