"""Solvers against diffusers' schedulers, which we did not write, and against what is known exactly."""

import math
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from factories import make_sampler_options
from torch import Tensor

from compodiff.model.sampling.process import Process
from compodiff.model.sampling.query import SamplerOptions
from compodiff.model.sampling.sampler import sample
from compodiff.model.sampling.schedule import CLEAN, compute_cosine_betas, make_cosine_schedule
from compodiff.model.sampling.solvers import Ddim, DpmSolver, LegacyDdim, Solver, UniPc

PROCESS = Process("diffusion", 1000)
SCHEDULE = make_cosine_schedule(1000)


def options(steps: int, solver: str, eta: float = 0.0) -> SamplerOptions:
    return make_sampler_options(num_inference_steps=steps, solver=solver, eta=eta, w_image=1.0, w_text=1.0)


def curved(x_t: Tensor, timestep: float) -> Tensor:
    """Some network that is neither linear nor constant, and never the same at two timesteps."""
    return torch.tanh(1.5 * x_t + 0.3) + 0.2 * math.cos(timestep / 150)


@pytest.fixture(scope="module")
def peers() -> dict[str, Callable[[], Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
    shared: dict[str, Any] = {"prediction_type": "sample", "timestep_spacing": "trailing", "num_train_timesteps": 1000}
    shared["trained_betas"] = compute_cosine_betas(1000).tolist()
    return {
        "ddim": lambda: DDIMScheduler(**shared, clip_sample=False, set_alpha_to_one=True),
        "dpm_solver": lambda: DPMSolverMultistepScheduler(**shared, final_sigmas_type="zero"),
        "unipc": lambda: UniPCMultistepScheduler(**shared, final_sigmas_type="zero"),
    }


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")
@pytest.mark.parametrize("solver", ["ddim", "dpm_solver", "unipc"])
# Their DDIM steps off its own grid where the steps do not divide 1000.
@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_agrees_with_diffusers(peers: dict[str, Callable[[], Any]], solver: str, steps: int) -> None:
    scheduler = peers[solver]()
    scheduler.set_timesteps(steps)
    start = x = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    for timestep in scheduler.timesteps:
        x = scheduler.step(curved(x, float(timestep)), timestep, x).prev_sample
    ours = sample(curved, options(steps, solver), PROCESS, lambda: start)
    # Measured 4e-6 at most (theirs is float32 throughout).
    torch.testing.assert_close(ours, x, rtol=0, atol=2e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_a_noisy_step_agrees_with_diffusers_of_the_same_noise(peers: dict[str, Callable[[], Any]], eta: float) -> None:
    scheduler = peers["ddim"]()
    scheduler.set_timesteps(10)
    x_t, x0, noise = (torch.randn(4, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    theirs = scheduler.step(x0, 599, x_t, eta=eta, variance_noise=noise).prev_sample
    ours = Ddim(SCHEDULE, eta, lambda: noise).step(x_t, x0, 599, 499)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("solver", ["ddim", "dpm_solver", "unipc", "mean"])
def test_makes_as_many_calls_as_steps_and_finds_a_constant_x0(solver: str) -> None:
    target, called = torch.full((2, 3), 4.0), []

    def constant(x_t: Tensor, timestep: float) -> Tensor:
        called.append(timestep)
        return target

    steps = 1 if solver == "mean" else 7
    found = sample(constant, options(steps, solver), PROCESS, lambda: torch.ones(2, 3))
    assert torch.equal(found, target)
    assert (len(called), called[0]) == (steps, 999)


def make(name: str) -> Solver:
    def noise() -> Tensor:
        raise AssertionError("a solver without noise drew some")

    made = {"ddim": Ddim(SCHEDULE, 0.0, noise), "dpm_solver": DpmSolver(SCHEDULE), "unipc": UniPc(SCHEDULE)}
    return made[name]


@pytest.mark.parametrize("solver", ["ddim", "dpm_solver", "unipc"])
def test_stays_on_the_exact_path_of_a_constant_x0(solver: str) -> None:
    x0, noise = torch.full((1, 4), 2.0), torch.tensor([[1.0, -1.0, 0.5, 0.0]])
    stepper, timesteps = make(solver), [900, 700, 400, 100]
    x = SCHEDULE.add_noise(x0, noise, torch.tensor([900]))
    for timestep, following in pairwise(timesteps):
        x = stepper.step(x, x0, timestep, following)
        torch.testing.assert_close(x, SCHEDULE.add_noise(x0, noise, torch.tensor([following])), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_noisy_ddim_keeps_the_marginal_distribution(eta: float) -> None:
    generator = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn(200_000, 1, generator=generator)

    x0 = torch.full((200_000, 1), 3.0)
    x = SCHEDULE.add_noise(x0, noise(), torch.full((200_000,), 800))
    x = Ddim(SCHEDULE, eta, noise).step(x, x0, 800, 500)
    alpha_bar = SCHEDULE.get_alpha_bar(500)
    assert float(x.mean()) == pytest.approx(3 * math.sqrt(alpha_bar), abs=0.01)
    assert float(x.std()) == pytest.approx(math.sqrt(1 - alpha_bar), abs=0.01)


def test_the_legacy_solver_adds_no_noise_on_its_way_to_timestep_0() -> None:
    drawn = []

    def noise() -> Tensor:
        drawn.append(1)
        return torch.zeros(1, 2)

    solver, x = LegacyDdim(SCHEDULE, noise), torch.ones(1, 2)
    solver.step(x, x, 100, 0)
    assert torch.equal(solver.step(x, 2 * x, 0, CLEAN), 2 * x)
    assert not drawn
    solver.step(x, x, 200, 100)
    assert drawn


@pytest.mark.parametrize(("timestep", "following"), [(899, 799), (200, 100), (20, 1), (99, 0)])
def test_the_legacy_solver_steps_as_the_released_code_does(timestep: int, following: int) -> None:
    """Its lines, with alphas_cumprod_prev where they have it: what is noise comes of another alpha than the step."""
    generator = torch.Generator().manual_seed(0)
    x_t, x0, drawn = (torch.randn(3, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    cumulated = SCHEDULE.alphas_cumprod
    previous = torch.cat([torch.ones(1, dtype=torch.float64), cumulated[:-1]])
    noise = ((1 / cumulated[timestep]).sqrt() * x_t - x0) / (1 / cumulated[timestep] - 1).sqrt()
    alpha, alpha_next = previous[timestep], previous[following]
    c1 = ((1 - alpha / alpha_next) * (1 - alpha_next) / (1 - alpha)).sqrt()
    c2 = ((1 - alpha_next) - c1**2).sqrt()
    expected = x0 * alpha_next.sqrt() + c1 * (drawn if following > 0 else torch.zeros_like(drawn)) + c2 * noise
    found = LegacyDdim(SCHEDULE, lambda: drawn).step(x_t, x0, timestep, following)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)  # measured 4e-16


@pytest.mark.parametrize("steps", [1, 4])
def test_flow_matching_follows_straight_paths(steps: int) -> None:
    called = []

    def constant(x_t: Tensor, timestep: float) -> Tensor:
        called.append(timestep)
        return torch.full_like(x_t, 5.0)

    found = sample(constant, options(steps, "ddim"), Process("flow_matching", 1000), lambda: torch.ones(1, 2))
    torch.testing.assert_close(found, torch.full((1, 2), 5.0))
    assert called == [1000 * (steps - index) / steps for index in range(steps)]


def test_a_regressor_is_called_once_without_noise() -> None:
    called = []

    def network(x_t: Tensor, timestep: float) -> Tensor:
        called.append((float(x_t.abs().sum()), timestep))
        return x_t + 1

    sample(network, options(10, "ddim"), Process("regression", 1000), lambda: torch.ones(1, 2))
    assert called == [(0.0, 999.0)]
