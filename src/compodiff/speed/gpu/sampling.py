"""Queries a second at 10 steps, guided, at the released size."""

from collections.abc import Iterator, Sequence

import torch

from compodiff.model.inference import prepare_for_inference
from compodiff.model.network.context import PackedText
from compodiff.model.network.denoiser import Denoiser, DenoiserConfig
from compodiff.model.sampling.captured import allow_recording
from compodiff.model.sampling.query import Conditions
from compodiff.model.sampling.sampler import compose_draws, guide, make_generators, sample
from compodiff.speed.denoiser import PROCESS, make_inputs, make_options
from compodiff.speed.gpu.timing import Row, measure_seconds

STEPS = 10
RECORDED_ROWS = 1024


def measure_sampling(
    name: str, device: torch.device, config: DenoiserConfig, batches: Sequence[int], repeats: int
) -> Iterator[Row]:
    """Yield queries a second, as they are answered and with one launch a kernel, and what both answers differ by."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = Denoiser(config)
    denoiser = prepare_for_inference(denoiser, "bfloat16", device)
    for batch in batches:
        options, inputs = make_options(STEPS, 1), make_inputs(config, batch, 1)
        asked = Conditions(PackedText.pack(inputs.negative), PackedText.pack(inputs.text), inputs.image)
        generators = make_generators(torch.Generator().manual_seed(0), batch)
        x_t = inputs.x_t.to(device)

        def answer(asked: Conditions = asked, options=options, generators=generators) -> torch.Tensor:  # type: ignore[no-untyped-def]
            return compose_draws(denoiser, asked, options, generators, PROCESS)

        @torch.inference_mode()
        def sample_eagerly(asked: Conditions = asked, options=options, x_t=x_t) -> torch.Tensor:  # type: ignore[no-untyped-def]
            return sample(guide(denoiser, asked, options), options, PROCESS, lambda: x_t)

        with allow_recording(RECORDED_ROWS):
            seconds = measure_seconds(answer, device, repeats)
        yield Row(name, f"batch {batch}, {STEPS} steps, recorded", batch / seconds, "queries/s")
        yield Row(name, f"batch {batch}, {STEPS} steps, recorded, an answer", 1000 * seconds, "ms")
        eager = measure_seconds(sample_eagerly, device, repeats)
        yield Row(name, f"batch {batch}, {STEPS} steps, one launch a kernel", 1000 * eager, "ms")
