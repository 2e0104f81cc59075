"""A query's answer on a GPU: that of the processor, recorded or not, in float32 and bfloat16."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from worlds.networks import OURS, TINY

from compodiff.model.inference import prepare_for_inference
from compodiff.model.network.context import PackedText
from compodiff.model.network.denoiser import Denoiser, DenoiserConfig
from compodiff.model.sampling.captured import allow_recording
from compodiff.model.sampling.process import Process
from compodiff.model.sampling.query import Conditions, SamplerOptions
from compodiff.model.sampling.sampler import compose_draws
from compodiff.precision import choose_device

pytestmark = pytest.mark.gpu
OPTIONS = SamplerOptions(10, "ddim", "trailing", 0.0, 1.5, 7.5, 2, 0.1, 0.05)
CPU = torch.device("cpu")


def make(config: DenoiserConfig) -> Denoiser:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        denoiser = Denoiser(config)
        torch.nn.init.normal_(denoiser.output_projection.weight, std=0.3)
    return denoiser


def ask(config: DenoiserConfig, count: int) -> Conditions:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    (width,) = config.token_dims
    text, null = PackedText.pack(draw(count, 4, width)), PackedText.pack(draw(1, 2, width))
    return Conditions(null, text, draw(count, config.embedding_dim), mask=draw(count, 64, 64) > 1)


def answer(denoiser: Denoiser, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    process = Process("diffusion", 1000)
    return compose_draws(denoiser, ask(denoiser.config, count), OPTIONS, generator, process).cpu()


@pytest.mark.parametrize("config", [TINY, OURS], ids=["released", "ours"])
def test_an_answer_is_that_of_the_processor(config: DenoiserConfig) -> None:
    denoiser = make(config)
    expected = answer(prepare_for_inference(deepcopy(denoiser), "float32", CPU), 3)
    found = answer(prepare_for_inference(deepcopy(denoiser), "float32", choose_device()), 3)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    half = answer(prepare_for_inference(deepcopy(denoiser), "bfloat16", choose_device()), 3)
    assert float(functional.cosine_similarity(half, expected, dim=-1).min()) > 0.99


def test_a_recorded_call_answers_as_one_that_is_not() -> None:
    denoiser = prepare_for_inference(make(OURS), "bfloat16", choose_device())
    with allow_recording(64):
        recorded = [answer(denoiser, count) for count in (1, 3, 1)]
    launched = [answer(denoiser, count) for count in (1, 3, 1)]
    for one, other in zip(recorded, launched, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
