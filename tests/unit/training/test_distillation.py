"""Distillation: the teacher is the sampler, and one call of the student says what many of the teacher's said."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from worlds import training as training_world
from worlds.training import NETWORK, PARAMS

from compodiff.errors import ParamsInvalid
from compodiff.model.checkpoint import load_model
from compodiff.model.sampling.process import Process
from compodiff.model.sampling.query import SamplerOptions
from compodiff.model.sampling.sampler import sample
from compodiff.params import DistillationParams
from compodiff.training.batch import Batch
from compodiff.training.batches import Batches
from compodiff.training.distillation import Teacher
from compodiff.training.fit import TrainingMaterial, fit, make_denoiser
from compodiff.training.tasks import Objective

PROCESS = Process("diffusion", 1000)
DISTILLATION = DistillationParams(
    **PARAMS.model_copy(update={"steps": 120, "validate_every": 120, "pure_noise_share": 1.0}).model_dump(),
    teacher_calls=10,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    training_world.write_embeddings(folder / "embeddings")
    return folder


def noisiest(material: TrainingMaterial) -> Batch:
    params = PARAMS.model_copy(update={"pure_noise_share": 1.0})
    (batch,) = Batches(material.mixture, params, PROCESS).make_microbatches(7, rank=0, world_size=1)
    return batch


def test_the_teacher_is_the_sampler(world: Path) -> None:
    material = training_world.material(world / "embeddings")
    denoiser = make_denoiser(replace(NETWORK, residual=False), material, standardise=True, seed=3).eval()
    torch.nn.init.normal_(denoiser.output_projection.weight, std=0.1)
    batch = noisiest(material)
    x_t, timestep = batch.noise.flatten(0, 1), batch.timestep.flatten()
    context = denoiser.prepare_context(batch.texts, batch.images, batch.masks, batch.rows)
    options = SamplerOptions(10, "ddim", "trailing", 0.0, 1.0, 1.0, 1, 0.0, 0.0)
    with torch.no_grad():
        expected = sample(
            lambda x, t: denoiser(x, torch.full((len(x),), int(t)), context), options, PROCESS, lambda: x_t
        )
    answered = Teacher(denoiser, PROCESS, 10)(torch.zeros_like(x_t), x_t, timestep, batch)
    assert torch.allclose(answered, expected, atol=1e-5)


@pytest.mark.parametrize("timestep", [0, 1, 5])
def test_near_the_end_fewer_timesteps_are_left_than_calls(world: Path, timestep: int) -> None:
    material = training_world.material(world / "embeddings")
    denoiser = make_denoiser(NETWORK, material, standardise=True, seed=3)
    batch = noisiest(material)
    x_t = batch.noise.flatten(0, 1)
    answered = Teacher(denoiser, PROCESS, 10)(x_t, x_t, torch.full((len(x_t),), timestep), batch)
    assert torch.isfinite(answered).all()


def test_one_call_learns_what_ten_say(world: Path) -> None:
    training_world.train_in(world, "teacher", {"steps": 150, "validate_every": 150, "checkpoint_every": 200})
    material = training_world.material(world / "embeddings")
    batch = noisiest(material)
    x_t, timestep = batch.noise.flatten(0, 1), batch.timestep.flatten()

    def distance(folder: str) -> float:
        denoiser, _ = load_model(world / folder)
        context = denoiser.prepare_context(batch.texts, batch.images, batch.masks, batch.rows)
        return float((denoiser(x_t, timestep, context) - taught).detach().square().mean())

    denoiser, card = load_model(world / "teacher")
    taught = Teacher(denoiser, PROCESS, 10)(x_t, x_t, timestep, batch)
    denoiser.train().requires_grad_()
    fit(
        denoiser,
        card,
        material,
        DISTILLATION,
        folder=world / "student",
        curve=world / "student.csv",
        on_metrics=lambda _step, _metrics: None,
    )
    assert distance("student") < 0.6 * distance("teacher")


def test_only_a_diffusion_model_has_a_trajectory_to_follow(world: Path) -> None:
    material = training_world.material(world / "embeddings")
    denoiser = make_denoiser(NETWORK, material, standardise=True, seed=3)
    with pytest.raises(ParamsInvalid, match="regression; only diffusion"):
        Teacher(denoiser, Process("regression", 1000), 10)


def test_the_teacher_is_not_trained(world: Path) -> None:
    material = training_world.material(world / "embeddings")
    denoiser = make_denoiser(NETWORK, material, standardise=True, seed=3)
    objective = Objective(denoiser, DISTILLATION, PROCESS, Teacher(denoiser, PROCESS, 2))
    assert len(list(objective.parameters())) == len(list(denoiser.parameters()))
