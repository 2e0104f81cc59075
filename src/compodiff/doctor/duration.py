"""How long `make run` will take here: seconds of the same work, times how much of it a default run does."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from compodiff.doctor.finding import Answer
from compodiff.errors import ParamsInvalid

if TYPE_CHECKING:
    from compodiff.params import Params

# What a run with the default params encodes, and about how many seconds all else takes (drawing scenes, validation,
# benchmarks, MLflow, DVC, Prefect): what docs/performance.md leaves after towers and training.
PICTURES, TEXTS = 10_329, 26_373
OTHER_SECONDS = 200
_BATCH, _TEXTS_AT_A_TIME, _ROUNDS = 16, 64, 2
_LONGEST_TEXT = 12


def estimate_run(project: Path) -> Answer:
    """Measure both towers and a training step for some seconds, and add up."""
    from compodiff.params import load_params

    params = load_params(project / "params.yaml")
    rows = sum(it.steps * it.batch_size * it.accumulation_steps for it in (params.prior, params.composed))
    pictures, texts = _time_towers(params)
    training = rows * _time_row(params)
    towers = PICTURES * pictures + TEXTS * texts
    total = training + towers + OTHER_SECONDS
    return "well", (
        f"about {max(1, round(total / 60))} minutes from nothing: training {training:.0f} s ({rows / training:.0f} rows"
        f" a second), the frozen towers {towers:.0f} s ({1 / pictures:.0f} pictures a second), all else"
        f" {OTHER_SECONDS} s"
    )


def _time_towers(params: "Params") -> tuple[float, float]:
    """Return the seconds of one picture and of one text."""
    import torch

    from compodiff.encoders import load_embedded_encoder

    if params.encoder.embedded is None:
        raise ParamsInvalid("params.yaml names an encoder of parts; only the time of the default one is known")
    size, maps = params.encoder.embedded.image_size, params.encoder.embedded.maps
    generator = torch.Generator().manual_seed(0)
    encoder = load_embedded_encoder(
        embedding_dim=sum(each.dimensions for each in maps.values()),
        image_size=size,
        generator=generator,
        grids={name: each.grid for name, each in maps.items()},
    ).prepare_for_many()
    pixels = torch.rand(_BATCH, 3, size, size, generator=generator)
    captions = ["a small red ball on the left of a dog"] * _TEXTS_AT_A_TIME
    picture = _time_shortest(lambda: encoder.encode_pixels(pixels))
    text = _time_shortest(lambda: encoder.encode_texts(captions))
    return picture / _BATCH, text / _TEXTS_AT_A_TIME


def _time_row(params: "Params") -> float:
    """Return the seconds of one row of a training step, in the precision that is chosen here."""
    import torch

    from compodiff.model.network.denoiser import Denoiser, DenoiserConfig
    from compodiff.precision import DTYPES, choose_device, choose_precision
    from compodiff.speed.training import TimedBatch, train_step

    dtype = DTYPES[choose_precision(params.composed.precision, choose_device())]
    width = params.denoiser.width  # stands for the widths of the encoder too: of the work, they are the smallest part
    config = DenoiserConfig.of(params.denoiser, embedding_dim=width, token_dims=(width,))
    with torch.random.fork_rng():
        denoiser = Denoiser(config).to(dtype)
    batch = TimedBatch(config, params.composed.batch_size, dtype, longest=_LONGEST_TEXT)
    optimizer = torch.optim.AdamW(denoiser.parameters(), fused=True)
    return _time_shortest(lambda: train_step(denoiser, optimizer, batch)) / params.composed.batch_size


def _time_shortest(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest round, after one that is not counted."""
    work()
    seconds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
