"""The networks that answer at once: what their answers depend on, and that they stand where the denoiser stands."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from factories import make_sampler_options
from worlds.networks import OURS, TWO_TEXT_PARTS, take_text

from compodiff.errors import CheckpointMismatch, InputInvalid
from compodiff.model.checkpoint import ModelCard, load_model, save_model
from compodiff.model.inference import prepare_for_inference
from compodiff.model.network.composing import ComposingNetwork, DenoiserConfig
from compodiff.model.network.context import NULL, ContextRows, PackedText
from compodiff.model.network.networks import NETWORKS, make_network
from compodiff.model.sampling.process import Process
from compodiff.model.sampling.query import Conditions
from compodiff.model.sampling.sampler import compose
from compodiff.precision import choose_device

CONTROLS = ("combiner", "sum")
Normal = Callable[..., torch.Tensor]


@pytest.fixture(params=[OURS, TWO_TEXT_PARTS], ids=["one text part", "two text parts"])
def config(request: pytest.FixtureRequest) -> DenoiserConfig:
    shape: DenoiserConfig = request.param
    return shape


@pytest.fixture(params=CONTROLS)
def control(request: pytest.FixtureRequest, config: DenoiserConfig) -> ComposingNetwork:
    """One whose every weight matters."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = make_network(replace(config, network=request.param)).eval().requires_grad_(False)
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=0.3)
        network.constants.embedding_mean.normal_()
        network.constants.embedding_std.uniform_(0.5, 2)
    return network


def answer(network: ComposingNetwork, *conditions: object) -> torch.Tensor:
    context = network.prepare_context(*conditions)
    return network(torch.zeros(len(context), network.config.embedding_dim), torch.tensor([5]), context)


def test_a_row_is_answered_as_if_it_were_alone(control: ComposingNetwork, texts: PackedText, normal: Normal) -> None:
    images, masks = normal(3, control.config.embedding_dim), normal(3, 64, 64) > 0
    rows = ContextRows(torch.tensor([2, 0, 1]), torch.tensor([1, NULL, 0]), torch.tensor([NULL, 2, 0]))
    together = answer(control, texts, images, masks, rows)
    for row in range(3):
        text, image, mask = int(rows.text[row]), int(rows.image[row]), int(rows.mask[row])
        alone = answer(
            control,
            take_text(texts, text),
            None if image == NULL else images[image : image + 1],
            None if mask == NULL else masks[mask : mask + 1],
        )
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-5, atol=1e-5)
    others = [answer(control, texts, images + 1, masks, rows), answer(control, texts, images, ~masks, rows)]
    others.append(answer(control, texts.convert(lambda tokens: tokens + normal(*tokens.shape)), images, masks, rows))
    assert [(together != other).any(1).tolist() for other in others] == [
        [True, False, True],  # the row without a reference
        [False, True, True],  # and the one without a mask
        [True, True, True],
    ]


def test_noise_and_time_change_nothing_and_each_draw_gets_the_answer(
    control: ComposingNetwork, texts: PackedText, normal: Normal
) -> None:
    images = normal(3, control.config.embedding_dim)
    context = control.prepare_context(texts, images)
    draws = control(normal(6, control.config.embedding_dim), torch.arange(6), context)
    assert torch.equal(draws, answer(control, texts, images).repeat_interleave(2, 0))


def test_samplers_and_guidance_take_it_for_a_regressor(
    control: ComposingNetwork, texts: PackedText, normal: Normal
) -> None:
    images, empty = normal(3, control.config.embedding_dim), take_text(texts, 1)
    process = Process.of(control.config, "diffusion", 1000)
    assert process.objective == "regression"
    conditions = Conditions(empty, texts, images)
    options = make_sampler_options(w_image=1.0, w_text=2.0, num_inference_steps=9, draws=2)
    composed = compose(control, conditions, options, torch.Generator().manual_seed(0), process)
    both, without = (answer(control, texts, images), answer(control, empty + empty + empty, images))
    torch.testing.assert_close(composed, control.restore(without + 2 * (both - without)))


def test_what_is_saved_is_loaded_and_prepared_for_search(
    control: ComposingNetwork, texts: PackedText, normal: Normal, tmp_path: Path
) -> None:
    images = normal(3, control.config.embedding_dim)
    save_model(tmp_path / "model", control.state_dict(), ModelCard(control.config, Process("regression", 1000)))
    loaded, card = load_model(tmp_path / "model")
    assert type(loaded) is NETWORKS[control.config.network]
    assert card.denoiser == control.config
    ready = prepare_for_inference(loaded, "float32", choose_device())
    torch.testing.assert_close(answer(ready, texts, images).cpu(), answer(control, texts, images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CONTROLS)
def test_an_untrained_one_answers_with_the_reference(name: str, normal: Normal) -> None:
    network = make_network(replace(OURS, network=name))
    texts, images = PackedText.pack(normal(2, 4, 12)), normal(2, 10)
    torch.testing.assert_close(answer(network, texts, images), images)


def test_what_does_not_fit_is_named(control: ComposingNetwork, texts: PackedText, normal: Normal) -> None:
    with pytest.raises(InputInvalid, match="embeddings are 7 wide, the network takes 10"):
        control.prepare_context(texts, normal(3, 7))
    with pytest.raises(CheckpointMismatch, match="there is no network 'mamba'; this release knows: transformer, "):
        make_network(replace(control.config, network="mamba"))
