"""What x_t and the timestep mean to a network: the diffusion of the paper, or one of its two controls.

In all three the network predicts x0, so that training has one loss and the same network fits:

- diffusion: x_t of the cosine schedule, timestep an integer in 0 ... T - 1.
- flow_matching (arXiv 2210.02747, straight paths): x_u = (1 - u) x0 + u noise for u in (0, 1], timestep = u * T. The
  velocity noise - x0 is (x_u - x0) / u, so that predicting x0 is predicting the velocity up to the factor 1 / u.
- regression: x_t = 0 and timestep = T - 1, always; the network is a function of the conditions alone.

Legend: N rows, D embedding width, T num_train_timesteps.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from compodiff.model.network.composing import DenoiserConfig
from compodiff.model.sampling.schedule import Schedule, make_cosine_schedule

Objective = Literal["diffusion", "regression", "flow_matching"]


@dataclass(frozen=True)
class Process:
    """How targets are noised in training, and what the sampler has to undo."""

    objective: Objective
    num_train_timesteps: int

    @classmethod
    def of(cls, network: DenoiserConfig, objective: Objective, num_train_timesteps: int) -> "Process":
        """Return the process that a training asks for; a network that sees no noise is a regressor in any."""
        return cls(objective if network.sees_noise else "regression", num_train_timesteps)

    @property
    def schedule(self) -> Schedule:
        """The cosine schedule of T timesteps."""
        return make_cosine_schedule(self.num_train_timesteps)

    def draw_timesteps(self, rows: int, generator: torch.Generator) -> Tensor:
        """Return timesteps to train on, (rows,) on the generator's device: long for diffusion, float32 otherwise."""
        device, last = generator.device, self.num_train_timesteps
        if self.objective == "diffusion":
            return torch.randint(last, (rows,), generator=generator, device=device)
        if self.objective == "flow_matching":
            return (1 - torch.rand(rows, generator=generator, device=device)) * last
        return torch.full((rows,), float(last - 1), device=device)

    def add_noise(self, x0: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """Make x_t for training. x0, noise: (N, D); timestep: (N,) as drawn -> (N, D) float32."""
        if self.objective == "diffusion":
            return self.schedule.add_noise(x0, noise, timestep)
        if self.objective == "flow_matching":
            return torch.lerp(x0.float(), noise.float(), (timestep / self.num_train_timesteps)[:, None])
        return torch.zeros_like(x0, dtype=torch.float32)
