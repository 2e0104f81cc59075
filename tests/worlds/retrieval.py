"""An encoder and a composer of random weights, as the index and search take them."""

import pytest
from factories import make_denoiser_config, make_random_denoiser, make_sampling_params

from compodiff.encoders import Encoder
from compodiff.model.checkpoint import ModelCard
from compodiff.model.sampling.process import Process
from compodiff.search.composer import Composer


@pytest.fixture(scope="session")
def encoder(tiny_encoder: Encoder) -> Encoder:
    return tiny_encoder


@pytest.fixture(scope="session")
def composer(encoder: Encoder) -> Composer:
    config = make_denoiser_config(token_dims=encoder.manifest.token_dims)
    card = ModelCard(config, Process("diffusion", 1000), encoder.manifest.to_json())
    sampling = make_sampling_params(draws=2, reference_mixing=0.1, masked_reference_mixing=0.05)
    return Composer(encoder, make_random_denoiser(config, seed=1), card, sampling)
