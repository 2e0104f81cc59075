"""Tiny networks of the real class, and queries for them."""

from collections.abc import Callable

import pytest
import torch
from factories import make_denoiser_config

from compodiff.model.network.context import PackedText
from compodiff.model.network.denoiser import Denoiser, DenoiserConfig

TINY = make_denoiser_config(token_dims=(12,), mask_size=64, image_slots=1)
OURS = make_denoiser_config(embedding_dim=10, token_dims=(12,), image_slots=3, residual=True)
TWO_TEXT_PARTS = make_denoiser_config(embedding_dim=10, token_dims=(12, 7))
LENGTHS = ((4, 1, 6), (2, 5, 2))  # of three texts, as each text part sees them


@pytest.fixture(params=[TINY, OURS, TWO_TEXT_PARTS], ids=["released", "ours", "two text parts"])
def config(request: pytest.FixtureRequest) -> DenoiserConfig:
    return request.param


@pytest.fixture
def make_denoiser() -> Callable[[DenoiserConfig], Denoiser]:
    """A network whose every weight matters: the output layer of a residual one is not left at zero."""

    def make(config: DenoiserConfig) -> Denoiser:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            denoiser = Denoiser(config).eval().requires_grad_(False)
            torch.nn.init.normal_(denoiser.output_projection.weight, std=0.3)
            denoiser.constants.embedding_mean.normal_()
            denoiser.constants.embedding_std.uniform_(0.5, 2)
        return denoiser

    return make


@pytest.fixture
def denoiser(config: DenoiserConfig, make_denoiser: Callable[[DenoiserConfig], Denoiser]) -> Denoiser:
    return make_denoiser(config)


@pytest.fixture
def normal() -> Callable[..., torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return lambda *shape: torch.randn(shape, generator=generator)


@pytest.fixture
def texts(config: DenoiserConfig, normal: Callable[..., torch.Tensor]) -> PackedText:
    """Three texts: of 4, 1 and 6 tokens, and as a second text part sees them, of 2, 5 and 2."""
    own = zip(config.token_dims, LENGTHS, strict=False)
    return PackedText.of(*((normal(sum(lengths), width), torch.tensor(lengths)) for width, lengths in own))


def take_text(texts: PackedText, row: int) -> PackedText:
    """One text alone."""
    taken = []
    for tokens, lengths in texts.parts:
        start = int(lengths[:row].sum())
        taken.append((tokens[start : start + int(lengths[row])], lengths[row : row + 1]))
    return PackedText.of(*taken)
