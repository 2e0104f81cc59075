"""The noise schedule: what is left of an embedding at each timestep, and when a sampler calls the network.

x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) noise, with the cosine alpha_bar of arXiv 2102.09672 (eq. 17).
Timesteps run from 0 (nearly clean) to num_train_timesteps - 1 (pure noise); CLEAN = -1 stands for x0 itself.
Legend: T num_train_timesteps, N rows, D embedding width.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from compodiff.errors import InputInvalid

CLEAN = -1
COSINE_OFFSET = 0.008
LARGEST_BETA = 0.999


@dataclass(frozen=True)
class Schedule:
    """alphas_cumprod: (T,) float64, whatever the precision of the network."""

    alphas_cumprod: Tensor

    def get_alpha_bar(self, timestep: int) -> float:
        """Return alpha_bar at `timestep`; 1 at CLEAN."""
        return 1.0 if timestep == CLEAN else float(self.alphas_cumprod[timestep])

    def add_noise(self, x0: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """Make x_t of the forward process. x0, noise: (N, D); timestep: (N,) long -> (N, D) float32."""
        alpha_bar = self.alphas_cumprod.to(timestep.device)[timestep].float()[:, None]
        return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise


def compute_cosine_betas(num_train_timesteps: int) -> Tensor:
    """Return betas of the cosine schedule, (T,) float64, clipped at 0.999 (arXiv 2102.09672, section 3.2)."""
    time = torch.linspace(0, num_train_timesteps, num_train_timesteps + 1, dtype=torch.float64) / num_train_timesteps
    alpha_bar = torch.cos((time + COSINE_OFFSET) / (1 + COSINE_OFFSET) * torch.pi * 0.5) ** 2
    alpha_bar = alpha_bar / alpha_bar[0]
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clip(0, LARGEST_BETA)


@lru_cache(maxsize=8)
def make_cosine_schedule(num_train_timesteps: int) -> Schedule:
    """Return the paper's schedule for T timesteps."""
    return Schedule(torch.cumprod(1 - compute_cosine_betas(num_train_timesteps), 0))


def make_trailing_grid(num_inference_steps: int, num_train_timesteps: int) -> list[int]:
    """Return timesteps of N network calls, from T - 1 downwards at equal distances (arXiv 2305.08891, "trailing").

    Raises:
        InputInvalid: fewer than one step, or more than T.
    """
    _require_steps(num_inference_steps, 1, num_train_timesteps)
    stride = num_train_timesteps / num_inference_steps
    return [round(num_train_timesteps - index * stride) - 1 for index in range(num_inference_steps)]


def make_legacy_grid(num_inference_steps: int, num_train_timesteps: int) -> list[int]:
    """Return timesteps of the released sampler for the same number of network calls; the first is well below T - 1.

    The released code says `timesteps` = N + 1 for N calls, and appends the clean end as a grid point of its own.

    Raises:
        InputInvalid: fewer than one step, or T and more.
    """
    _require_steps(num_inference_steps, 1, num_train_timesteps - 1)
    points = torch.linspace(-1.0, num_train_timesteps, num_inference_steps + 2)[1:-1].int().tolist()
    return [int(point) for point in reversed(points)]


def _require_steps(steps: int, least: int, most: int) -> None:
    if not least <= steps <= most:
        raise InputInvalid(f"num_inference_steps is {steps}; take a number from {least} to {most}")
