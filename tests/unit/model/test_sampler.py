"""Sampling: the query modes, and what a query's answer may depend on."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from factories import make_sampler_options, make_sampling_params
from torch import Tensor
from worlds.networks import take_text

from compodiff.errors import InputInvalid
from compodiff.model.network.context import PackedText
from compodiff.model.network.denoiser import Denoiser, DenoiserConfig
from compodiff.model.sampling.guidance import combine
from compodiff.model.sampling.process import Process
from compodiff.model.sampling.query import Conditions, SamplerOptions
from compodiff.model.sampling.sampler import compose, compose_draws, guide, make_generators

PROCESS = Process("diffusion", 1000)
OPTIONS = make_sampler_options(num_inference_steps=3)
NOISY = replace(OPTIONS, solver="ddim", eta=1.0, draws=2)
Normal = Callable[..., Tensor]


@pytest.fixture
def null_text(config: DenoiserConfig, normal: Normal) -> PackedText:
    return PackedText.pack(*(normal(1, 2, width) for width in config.token_dims))


@pytest.fixture
def conditions(denoiser: Denoiser, texts: PackedText, null_text: PackedText, normal: Normal) -> Conditions:
    mask = torch.zeros(3, 64, 64, dtype=torch.bool)
    mask[1, 10:30, 10:50] = True
    return Conditions(null_text, texts, normal(3, denoiser.config.embedding_dim), None, mask)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def one(conditions: Conditions, row: int) -> Conditions:
    """Query `row` alone."""
    assert conditions.text is not None
    assert conditions.image is not None
    assert conditions.mask is not None
    pick = slice(row, row + 1)
    text = take_text(conditions.text, row)
    return Conditions(conditions.null_text, text, conditions.image[pick], None, conditions.mask[pick])


@pytest.mark.parametrize("options", [OPTIONS, NOISY], ids=["unipc", "noisy ddim"])
def test_a_query_does_not_depend_on_its_neighbours(
    denoiser: Denoiser, conditions: Conditions, options: SamplerOptions
) -> None:
    together = compose_draws(denoiser, conditions, options, generators(7, 8, 9), PROCESS)
    for row, seed in enumerate((7, 8, 9)):
        alone = compose_draws(denoiser, one(conditions, row), options, generators(seed), PROCESS)
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-4)


def test_one_generator_seeds_the_queries_in_turn() -> None:
    few, more = (make_generators(generator, count) for generator, count in zip(generators(1, 1), (2, 5), strict=True))
    assert [each.initial_seed() for each in few] == [each.initial_seed() for each in more[:2]]
    assert len({each.initial_seed() for each in more}) == 5


def test_the_same_generator_gives_the_same_bits(denoiser: Denoiser, conditions: Conditions) -> None:
    state = torch.random.get_rng_state()
    first, again, other = (compose(denoiser, conditions, NOISY, *generators(seed), PROCESS) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was used"


@pytest.mark.parametrize(
    ("w_image", "w_text"), [(1.5, 7.5), (1.0, 1.0), (0.0, 0.0), (0.0, 7.5), (1.0, 3.0), (2.0, 2.0)]
)
def test_guidance_is_the_papers_equation_at_any_weights(
    denoiser: Denoiser, conditions: Conditions, w_image: float, w_text: float, normal: Normal
) -> None:
    x_t = normal(3, denoiser.config.embedding_dim)

    def unguided(given: Conditions) -> Tensor:
        return guide(denoiser, given, replace(OPTIONS, w_image=1.0, w_text=1.0))(x_t, 400)

    nothing = replace(conditions, text=null_texts(conditions, 3), image=None)
    null, image, both = (unguided(given) for given in (nothing, replace(nothing, image=conditions.image), conditions))
    found = guide(denoiser, conditions, replace(OPTIONS, w_image=w_image, w_text=w_text))(x_t, 400)
    expected = combine(null, image, both, w_image=w_image, w_text=w_text)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def null_texts(conditions: Conditions, count: int) -> PackedText:
    """The null text as the text of `count` queries."""
    parts = conditions.null_text.parts
    return PackedText.of(*((tokens.repeat(count, 1), lengths.repeat(count)) for tokens, lengths in parts))


def test_text_only_and_reference_only(denoiser: Denoiser, conditions: Conditions) -> None:
    whole = compose(denoiser, conditions, OPTIONS, *generators(1), PROCESS)
    text_only = compose(denoiser, replace(conditions, image=None, mask=None), OPTIONS, *generators(1), PROCESS)
    image_only = compose(denoiser, replace(conditions, text=None), OPTIONS, *generators(1), PROCESS)
    by_null_text = replace(conditions, text=null_texts(conditions, 3))
    assert not torch.allclose(whole, text_only, atol=1e-3)
    assert not torch.allclose(whole, image_only, atol=1e-3)
    expected = compose(denoiser, by_null_text, OPTIONS, *generators(1), PROCESS)
    torch.testing.assert_close(image_only, expected, rtol=1e-4, atol=1e-4)


def test_a_query_without_reference_in_a_mixed_batch(denoiser: Denoiser, conditions: Conditions) -> None:
    mixed = replace(conditions, has_image=torch.tensor([True, False, True]), mask=None)
    options = replace(OPTIONS, reference_mixing=0.5)
    found = compose(denoiser, mixed, options, generators(1, 2, 3), PROCESS)
    alone = replace(one(conditions, 1), image=None, mask=None)
    torch.testing.assert_close(
        found[1], compose(denoiser, alone, options, generators(2), PROCESS)[0], rtol=1e-4, atol=1e-4
    )


def test_a_negative_text_changes_the_answer_and_may_differ_by_query(
    denoiser: Denoiser, conditions: Conditions, normal: Normal
) -> None:
    plain = compose(denoiser, conditions, OPTIONS, *generators(1), PROCESS)
    same = replace(conditions, null_text=null_texts(conditions, 3))
    torch.testing.assert_close(compose(denoiser, same, OPTIONS, *generators(1), PROCESS), plain, rtol=1e-4, atol=1e-4)
    others = same.null_text.convert(Tensor.clone)
    for tokens, _ in others.parts:
        tokens[2:4] = normal(2, tokens.shape[1])
    negative = replace(same, null_text=others)
    found = compose(denoiser, negative, OPTIONS, *generators(1), PROCESS)
    torch.testing.assert_close(found[[0, 2]], plain[[0, 2]], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[1], plain[1], atol=1e-3)


def test_the_reference_is_mixed_in_by_its_share_and_less_where_masked(
    denoiser: Denoiser, conditions: Conditions
) -> None:
    assert conditions.image is not None
    plain = compose(denoiser, conditions, OPTIONS, *generators(1), PROCESS)
    options = replace(OPTIONS, reference_mixing=0.4, masked_reference_mixing=0.1)
    share = torch.tensor([[0.4], [0.1], [0.4]])
    expected = (1 - share) * plain + share * conditions.image
    torch.testing.assert_close(compose(denoiser, conditions, options, *generators(1), PROCESS), expected)


def test_draws_are_averaged(denoiser: Denoiser, conditions: Conditions) -> None:
    draws = compose_draws(denoiser, conditions, replace(NOISY, draws=4), *generators(1), PROCESS)
    assert draws.shape == (3, 4, denoiser.config.embedding_dim)
    assert not torch.allclose(draws[:, 0], draws[:, 1], atol=1e-3)
    mean = compose(denoiser, conditions, replace(NOISY, draws=4), *generators(1), PROCESS)
    torch.testing.assert_close(mean, draws.mean(1))


def test_options_come_from_params_with_a_querys_own_changes() -> None:
    params = make_sampling_params(**asdict(NOISY))
    assert SamplerOptions.of(params) == NOISY
    assert SamplerOptions.of(params, w_text=9.0, draws=None) == replace(NOISY, w_text=9.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"draws": 0}, "draws is 0"),
        ({"w_image": -1.0}, "w_image is -1"),
        ({"w_text": -0.5}, "w_text is -0.5"),
        ({"w_text": float("nan")}, "w_text is nan"),
        ({"eta": -0.1}, "eta is -0.1"),
        ({"reference_mixing": 1.5}, "reference_mixing is 1.5; take a number from 0 to 1"),
        ({"solver": "mean"}, "solver mean is one network call, not 3"),
        ({"grid": "legacy"}, "the legacy grid knows the solver ddim only, not unipc"),
    ],
)
def test_bad_options_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputInvalid, match=message):
        replace(OPTIONS, **changes)


def test_bad_conditions_are_named(denoiser: Denoiser, conditions: Conditions, normal: Normal) -> None:
    assert conditions.image is not None
    assert conditions.text is not None
    spoilt = conditions.image.clone()
    spoilt[1, 2] = torch.nan
    infinite = PackedText((*conditions.text.parts[:-1], *conditions.text.convert(lambda it: it / 0).parts[-1:]))
    for given, message in (
        (replace(conditions, text=None, image=None, mask=None), "neither a text nor a reference"),
        (replace(conditions, image=spoilt), "a reference embedding holds NaN"),
        (replace(conditions, text=infinite), "a text embedding holds NaN"),
        (replace(conditions, image=normal(2, denoiser.config.embedding_dim)), "2 reference embeddings for 3 queries"),
        (replace(conditions, null_text=null_texts(conditions, 2)), "2 negative texts for 3 queries"),
        (replace(conditions, mask=torch.zeros(3, 32, 32)), "a mask is 32 x 32"),
    ):
        with pytest.raises(InputInvalid, match=message):
            compose(denoiser, given, OPTIONS, *generators(1), PROCESS)
    with pytest.raises(InputInvalid, match="2 generators for 3 queries"):
        compose(denoiser, conditions, OPTIONS, generators(1, 2), PROCESS)
