"""The loss against a plain computation of the same thing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from worlds import training as training_world
from worlds.training import NETWORK, PARAMS

from compodiff.model.network.attention import Projected, Unprojected
from compodiff.model.network.context import NULL, Context, PackedText
from compodiff.model.network.denoiser import Denoiser
from compodiff.model.sampling.process import Process
from compodiff.training.batch import Batch
from compodiff.training.batches import Batches
from compodiff.training.fit import TrainingMaterial, make_denoiser
from compodiff.training.tasks import Objective, compute_contrastive_loss, compute_loss_weight


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> TrainingMaterial:
    folder = tmp_path_factory.mktemp("world") / "embeddings"
    training_world.write_embeddings(folder)
    return training_world.material(folder)


@pytest.fixture
def denoiser(material: TrainingMaterial) -> Denoiser:
    return make_denoiser(replace(NETWORK, residual=False), material, standardise=True, seed=3)


def draw(material: TrainingMaterial, process: Process, **changes: object) -> Batch:
    params = PARAMS.model_copy(update=changes)
    (batch,) = Batches(material.mixture, params, process).make_microbatches(0, rank=0, world_size=1)
    return batch


@pytest.mark.parametrize("objective", ["diffusion", "regression", "flow_matching"])
def test_equals_the_mean_over_rows_taken_one_by_one(
    material: TrainingMaterial, denoiser: Denoiser, objective: str
) -> None:
    process = Process(objective, 1000)  # type: ignore[arg-type]
    batch = draw(material, process, noise_draws=3)
    whole = Objective(denoiser, PARAMS, process)(batch)
    starts = batch.texts.parts[0].lengths.cumsum(0) - batch.texts.parts[0].lengths
    losses = []
    for row, (text, image, mask) in enumerate(
        zip(batch.rows.text.tolist(), batch.rows.image.tolist(), batch.rows.mask.tolist(), strict=True)
    ):
        for draw_number in range(3):
            words = batch.texts.parts[0].tokens[starts[text] : starts[text] + batch.texts.parts[0].lengths[text]]
            context = denoiser.prepare_context(
                PackedText.of((words, batch.texts.parts[0].lengths[text : text + 1])),
                batch.images[image : image + 1] if image != NULL else None,
                batch.masks[mask : mask + 1] if mask != NULL else None,
            )
            x0 = denoiser.standardise(batch.target[row : row + 1])
            timestep = batch.timestep[row, draw_number : draw_number + 1]
            x_t = process.add_noise(x0, batch.noise[row, draw_number : draw_number + 1], timestep)
            error = (denoiser(x_t, timestep, context) - x0).square().mean()
            losses.append(error * compute_loss_weight(process, timestep)[0])
    assert whole.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


def test_many_draws_share_their_rows_keys_and_change_no_number(material: TrainingMaterial) -> None:
    # Wide heads and many slots: projecting them for a single draw would not pay.
    network = replace(NETWORK, residual=False, image_slots=16, cross_heads=1, head_width=128)
    denoiser = make_denoiser(network, material, standardise=True, seed=3)
    process = Process("diffusion", 1000)
    batch = draw(material, process, noise_draws=16)
    contexts: list[Context] = []
    denoiser.register_forward_hook(lambda _, received, __: contexts.append(received[2]))
    whole = Objective(denoiser, PARAMS, process)(batch)
    whole.backward()
    gradients = [weight.grad for weight in denoiser.parameters()]
    denoiser.zero_grad()
    singly = [
        Objective(denoiser, PARAMS, process)(replace(batch, noise=batch.noise[:, one], timestep=batch.timestep[:, one]))
        for one in torch.arange(16).split(1)
    ]
    torch.stack(singly).mean().backward()
    ways = [type(context.layers[0]) for context in contexts]
    assert ways == [Projected] + 16 * [Unprojected]
    assert whole.item() == pytest.approx(torch.stack(singly).mean().item(), rel=1e-6)
    for shared, weight in zip(gradients, denoiser.parameters(), strict=True):
        torch.testing.assert_close(shared, weight.grad, rtol=1e-4, atol=1e-6)


def test_regression_sees_nothing_of_the_target(material: TrainingMaterial, denoiser: Denoiser) -> None:
    process = Process("regression", 1000)
    batch = draw(material, process)
    inputs: list[torch.Tensor] = []
    denoiser.input_projection.register_forward_hook(lambda _, received, __: inputs.append(received[0]))
    Objective(denoiser, PARAMS, process)(batch)
    assert not inputs[0].any()
    assert (batch.timestep == 999).all()


def test_flow_matching_counts_errors_of_the_velocity() -> None:
    process = Process("flow_matching", 1000)
    x0, noise = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1)).unbind()
    guess, timestep = x0 + 0.3, torch.tensor([1000.0, 500.0, 250.0, 100.0, 50.0])
    x_u = process.add_noise(x0, noise, timestep)
    u = (timestep / 1000)[:, None]
    velocity_error = ((x_u - guess) / u - (noise - x0)).square().mean(-1)
    assert torch.allclose(
        compute_loss_weight(process, timestep) * (guess - x0).square().mean(-1), velocity_error, rtol=1e-4
    )


def test_contrastive_loss_equals_the_textbook() -> None:
    generator = torch.Generator().manual_seed(4)
    targets, others, denoised = (torch.randn(rows, 8, generator=generator) for rows in (4, 3, 8))
    answers, keys = (
        array / np.linalg.norm(array, axis=1, keepdims=True)
        for array in (denoised.numpy(), np.concatenate([targets, others]))
    )
    scores = np.exp(answers @ keys.T / 0.5)
    expected = -np.mean([np.log(scores[row, row // 2] / scores[row].sum()) for row in range(8)])
    assert float(compute_contrastive_loss(denoised, targets, others, temperature=0.5)) == pytest.approx(
        expected, rel=1e-5
    )


def test_contrastive_loss_spares_other_pictures_that_show_the_target() -> None:
    generator = torch.Generator().manual_seed(2)
    target, other = torch.randn(2, 1, 16, generator=generator)
    answer = target + 0.5 * other
    assert float(compute_contrastive_loss(answer, target, 3 * target, temperature=0.1)) == 0.0
    plain = compute_contrastive_loss(answer, target, other, temperature=0.1)
    with_twin = compute_contrastive_loss(answer, target, torch.cat([other, 3 * target]), temperature=0.1)
    assert float(with_twin) == pytest.approx(float(plain), rel=1e-6)
    assert float(compute_contrastive_loss(answer, target, torch.cat([other, answer]), temperature=0.1)) > float(plain)


def test_references_and_drawn_pictures_are_wrong_answers(material: TrainingMaterial, denoiser: Denoiser) -> None:
    process = Process("diffusion", 1000)
    batch = draw(material, process)
    denoised: list[torch.Tensor] = []
    denoiser.register_forward_hook(lambda _, __, output: denoised.append(output))
    plain = Objective(denoiser, PARAMS, process)(batch)
    both = Objective(denoiser, PARAMS.model_copy(update={"contrastive_weight": 0.5}), process)(batch)
    wrong = torch.cat([batch.images, batch.others])
    assert len(batch.others) == PARAMS.contrastive_negatives
    answers = denoiser.restore(denoised[0])
    contrast = compute_contrastive_loss(answers, batch.target, wrong, temperature=PARAMS.contrastive_temperature)
    assert (both - plain).item() == pytest.approx(0.5 * contrast.item(), rel=1e-4)


def test_gradients_reach_every_weight(material: TrainingMaterial, denoiser: Denoiser) -> None:
    process = Process("diffusion", 1000)
    Objective(denoiser, PARAMS, process)(draw(material, process)).backward()
    without = {name for name, weight in denoiser.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert without == set()
