"""The network: what may change its answer and what may not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from worlds.networks import OURS, TWO_TEXT_PARTS, take_text

from compodiff.errors import InputInvalid
from compodiff.model.network.attention import Projected, Unprojected
from compodiff.model.network.context import NULL, ContextRows, PackedStates, PackedText
from compodiff.model.network.denoiser import RELEASED, Denoiser, DenoiserConfig
from compodiff.model.network.inputs import embed_timestep
from compodiff.params import DenoiserParams, compose_params
from compodiff.speed import plain

ROOT = Path(__file__).parents[3]
ALWAYS_PROJECTED = 10**6
Normal = Callable[..., torch.Tensor]


def size_of(config: DenoiserConfig) -> int:
    with torch.device("meta"):
        denoiser = Denoiser(config)
    return sum(weight.numel() for weight in denoiser.parameters())


def test_the_released_size() -> None:
    # The published count includes the 16 rotary frequencies, a buffer here.
    assert size_of(RELEASED) + 16 == 140_043_792


def test_the_papers_params_build_the_papers_network() -> None:
    params = DenoiserParams.model_validate(compose_params(ROOT, "paper")["denoiser"])
    config = DenoiserConfig.of(params, embedding_dim=768, token_dims=(768,))
    assert replace(config, token_dims=(1280,)) == RELEASED
    assert size_of(config) == size_of(RELEASED) - (1280 - 768) * 768


def test_equals_the_plain_implementation(make_denoiser: Callable[..., Denoiser], normal: Normal) -> None:
    shape = {"embedding_dim": 32, "width": 32, "depth": 3, "heads": 3, "cross_heads": 2, "head_width": 16}
    config = replace(RELEASED, token_dims=(20,), **shape)
    denoiser = make_denoiser(config)
    denoiser.constants.embedding_mean.zero_()
    denoiser.constants.embedding_std.fill_(1)
    text, image, mask = normal(4, 7, 20), normal(4, 32), normal(4, 64, 64) > 0
    x_t, timestep = normal(4, 32), torch.tensor([0, 3, 500, 999])
    expected = plain.predict(denoiser.state_dict(), config, x_t, timestep, (text, image, mask.float()))
    for uses in (1, ALWAYS_PROJECTED):
        context = denoiser.prepare_context(PackedText.pack(text), image, mask, uses=uses)
        torch.testing.assert_close(denoiser(x_t, timestep, context), expected, rtol=1e-5, atol=1e-5)


def test_both_ways_of_attending_agree(denoiser: Denoiser, texts: PackedText, normal: Normal) -> None:
    config = denoiser.config
    image, mask = normal(3, config.embedding_dim), normal(3, 64, 64) > 0
    rows = ContextRows(torch.tensor([0, 1, 2, 2]), torch.tensor([NULL, 1, 2, 0]), torch.tensor([0, NULL, 2, 2]))
    x_t, timestep = normal(4, config.embedding_dim), torch.tensor([1, 10, 100, 999])
    contexts = [denoiser.prepare_context(texts, image, mask, rows, uses) for uses in (0, ALWAYS_PROJECTED)]
    assert [type(context.layers[0]) for context in contexts] == [Unprojected, Projected]
    one, other = (denoiser(x_t, timestep, context) for context in contexts)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("uses", [0, ALWAYS_PROJECTED])
def test_two_text_parts_are_one_whose_tokens_are_laid_side_by_side(
    make_denoiser: Callable[[DenoiserConfig], Denoiser], normal: Normal, uses: int
) -> None:
    """A text part's tokens with zeros for the other part's numbers, through both projections at once."""
    two = make_denoiser(TWO_TEXT_PARTS)
    widths = TWO_TEXT_PARTS.token_dims
    weights = {**two.state_dict(), "further_text_projections.0.bias": two.text_projection.bias}
    two.load_state_dict(weights)  # so that the offset is the same whichever part a token is of
    one = Denoiser(replace(TWO_TEXT_PARTS, token_dims=(sum(widths),))).eval()
    joined = torch.cat((weights["text_projection.weight"], weights["further_text_projections.0.weight"]), 1)
    one.load_state_dict(
        {name: weight for name, weight in weights.items() if "further" not in name} | {"text_projection.weight": joined}
    )
    lengths = (4, 1, 6), (2, 5, 2)
    parts = [normal(sum(own), width) for own, width in zip(lengths, widths, strict=True)]
    sides = torch.nn.functional.pad(parts[0], (0, widths[1])), torch.nn.functional.pad(parts[1], (widths[0], 0))
    of_rows = zip(sides[0].split(lengths[0]), sides[1].split(lengths[1]), strict=True)
    beside = PackedText.of((torch.cat([each for own in of_rows for each in own]), torch.tensor([6, 6, 8])))
    texts = PackedText.of(*((own, torch.tensor(of)) for own, of in zip(parts, lengths, strict=True)))
    rows = ContextRows(torch.tensor([2, 0, 1, 2]), torch.tensor([NULL, 1, 2, 0]), torch.tensor([0, NULL, 2, 2]))
    image, mask, x_t = normal(3, 10), normal(3, 64, 64) > 0, normal(4, 10)
    timestep = torch.tensor([1, 10, 100, 999])
    answers = [
        network(x_t, timestep, network.prepare_context(given, image, mask, rows, uses))
        for network, given in ((two, texts), (one, beside))
    ]
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("uses", [0, ALWAYS_PROJECTED])
def test_padding_and_neighbours_change_nothing(
    denoiser: Denoiser, texts: PackedText, normal: Normal, uses: int
) -> None:
    width = denoiser.config.embedding_dim
    image, mask, x_t = normal(3, width), normal(3, 64, 64) > 0, normal(3, width)
    timestep = torch.tensor([5, 50, 500])
    together = denoiser(x_t, timestep, denoiser.prepare_context(texts, image, mask, uses=uses))
    for row in range(3):
        context = denoiser.prepare_context(take_text(texts, row), image[row : row + 1], mask[row : row + 1], uses=uses)
        alone = denoiser(x_t[row : row + 1], timestep[row : row + 1], context)
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("uses", [0, ALWAYS_PROJECTED])
def test_draws_share_their_context_row(denoiser: Denoiser, texts: PackedText, normal: Normal, uses: int) -> None:
    width = denoiser.config.embedding_dim
    image, x_t = normal(3, width), normal(6, width)
    timestep = torch.arange(6) * 100
    shared = denoiser(x_t, timestep, denoiser.prepare_context(texts, image, uses=uses))
    rows = ContextRows(*(torch.tensor([0, 0, 1, 1, 2, 2]),) * 2, torch.full((6,), NULL))
    repeated = denoiser(x_t, timestep, denoiser.prepare_context(texts, image, None, rows, uses))
    torch.testing.assert_close(shared, repeated, rtol=1e-4, atol=1e-5)


def test_every_condition_matters(denoiser: Denoiser, texts: PackedText, normal: Normal) -> None:
    width = denoiser.config.embedding_dim
    image, mask, x_t, timestep = normal(3, width), torch.ones(3, 64, 64), normal(3, width), torch.tensor([300])
    whole = denoiser(x_t, timestep, denoiser.prepare_context(texts, image, mask))
    others = [
        denoiser(x_t, timestep, denoiser.prepare_context(texts, None, mask)),
        denoiser(x_t, timestep, denoiser.prepare_context(texts, image)),
        denoiser(x_t, timestep, denoiser.prepare_context(texts.convert(lambda it: it + 1), image, mask)),
        denoiser(x_t, timestep + 100, denoiser.prepare_context(texts, image, mask)),
        denoiser(-x_t, timestep, denoiser.prepare_context(texts, image, mask)),
    ]
    assert all((whole - other).abs().mean() > 1e-4 for other in others)


def test_an_empty_mask_is_no_mask(denoiser: Denoiser, texts: PackedText, normal: Normal) -> None:
    x_t, timestep = normal(3, denoiser.config.embedding_dim), torch.tensor([300])
    empty = denoiser(x_t, timestep, denoiser.prepare_context(texts, None, torch.zeros(3, 64, 64)))
    torch.testing.assert_close(empty, denoiser(x_t, timestep, denoiser.prepare_context(texts)))


def test_a_null_reference_of_the_released_network_is_the_zero_vector(
    config: DenoiserConfig, texts: PackedText, normal: Normal
) -> None:
    denoiser = Denoiser(config).requires_grad_(False)
    x_t, timestep = normal(3, config.embedding_dim), torch.tensor([300])
    zeros = denoiser(x_t, timestep, denoiser.prepare_context(texts, torch.zeros(3, config.embedding_dim)))
    torch.testing.assert_close(zeros, denoiser(x_t, timestep, denoiser.prepare_context(texts)))


def test_an_untrained_residual_network_answers_with_the_reference(
    config: DenoiserConfig, texts: PackedText, normal: Normal
) -> None:
    denoiser = Denoiser(replace(OURS, token_dims=config.token_dims)).requires_grad_(False)
    denoiser.constants.embedding_mean.normal_()
    image = normal(3, 10)
    x0 = denoiser(normal(3, 10), torch.tensor([300]), denoiser.prepare_context(texts, image))
    torch.testing.assert_close(denoiser.restore(x0), image)


def test_restore_undoes_standardise(denoiser: Denoiser, normal: Normal) -> None:
    embedding = normal(5, denoiser.config.embedding_dim)
    torch.testing.assert_close(denoiser.restore(denoiser.standardise(embedding)), embedding)


def test_constants_stay_float32_in_a_bfloat16_network(denoiser: Denoiser) -> None:
    mean = denoiser.constants.embedding_mean.clone()
    denoiser.to(torch.bfloat16)
    assert denoiser.dtype == torch.bfloat16
    assert torch.equal(denoiser.constants.embedding_mean, mean)


def test_timesteps_may_be_real_numbers() -> None:
    whole, between = embed_timestep(torch.tensor([3, 4]), 8), embed_timestep(torch.tensor([3.0, 3.5]), 8)
    assert torch.equal(whole[0], between[0])
    assert not torch.equal(whole[1], between[1])


def test_packing_drops_the_padding(normal: Normal) -> None:
    tokens, mask = normal(2, 3, 4), torch.tensor([[True, True, False], [True, False, False]])
    packed = PackedStates.pack(tokens, mask)
    assert torch.equal(packed.tokens, torch.stack((tokens[0, 0], tokens[0, 1], tokens[1, 0])))
    assert packed.lengths.tolist() == [2, 1]
    assert PackedStates.pack(tokens).lengths.tolist() == [3, 3]


def test_bad_inputs_are_named(denoiser: Denoiser, texts: PackedText, normal: Normal) -> None:
    width = denoiser.config.embedding_dim
    (tokens, _), *further = texts.parts
    for arguments, message in (
        ((PackedText.of((normal(2, 5), torch.tensor([2])), *further),), "5 wide, the network takes 12"),
        ((PackedText.of((tokens, torch.tensor([11, 0, 0])), *further),), "a text has no tokens"),
        ((PackedText.of((tokens, torch.tensor([5, 4, 1])), *further),), "add up to 10, there are 11"),
        ((PackedText(texts.parts * 2),), f"of {2 * len(texts.parts)} text parts, the network takes {len(texts.parts)}"),
        ((texts, normal(3, width + 1)), f"{width + 1} wide, the network takes {width}"),
        ((texts, normal(3, width), torch.zeros(3, 32, 64)), "a mask is 32 x 64; resize it to 64 x 64"),
    ):
        with pytest.raises(InputInvalid, match=message):
            denoiser.prepare_context(*arguments)
