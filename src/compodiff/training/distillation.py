"""Distillation: a copy of the model learns to say in one network call what the model says in many.

From any x_t that training draws, the teacher solves down to x0 by deterministic DDIM, and that answer is what the
student's one call is held to: the end of the teacher's trajectory, as consistency models learn it (arXiv 2303.01469),
but solved for instead of bootstrapped. Conditions are dropped as in training and nothing is guided, so that the student
keeps all three branches of guidance.
Legend: N rows, D embedding width, T num_train_timesteps.
"""

from copy import deepcopy

import torch
from torch import Tensor

from compodiff.errors import ParamsInvalid
from compodiff.model.network.composing import ComposingNetwork
from compodiff.model.sampling.process import Process
from compodiff.model.sampling.schedule import CLEAN
from compodiff.params import DistillationParams, TrainingParams
from compodiff.training.batch import Batch


class Teacher:
    """The aim of distillation (see `tasks.Aim`): what a frozen copy of the denoiser answers by `calls` calls."""

    def __init__(self, denoiser: ComposingNetwork, process: Process, calls: int) -> None:
        """Freeze a copy of `denoiser` as it is now.

        Raises:
            ParamsInvalid: the model is no diffusion model, so that there is no trajectory to follow.
        """
        if process.objective != "diffusion":
            raise ParamsInvalid(f"the model was trained for {process.objective}; only diffusion can be distilled")
        self._denoiser = deepcopy(denoiser).eval().requires_grad_(requires_grad=False)
        self._alpha_bar = torch.cat((torch.ones(1), process.schedule.alphas_cumprod.float()))  # [0] is CLEAN's
        self._calls = calls

    @torch.no_grad()
    def __call__(self, x0: Tensor, x_t: Tensor, timestep: Tensor, batch: Batch) -> Tensor:
        """Solve from x_t (N, D) at timestep (N,) -> (N, D); x0 itself is not looked at."""
        denoiser, alpha_bar = self._denoiser.to(x_t.device), self._alpha_bar.to(x_t.device)
        context = denoiser.prepare_context(batch.texts, batch.images, batch.masks, batch.rows)
        x, answer = x_t, torch.zeros_like(x0)
        for left in range(self._calls, 0, -1):
            following = (timestep + 1) * (left - 1) // left + CLEAN
            predicted = denoiser(x, timestep.clamp(min=0), context)
            answer = torch.where((timestep == CLEAN)[:, None], answer, predicted)
            x = _step_ddim(x, answer, alpha_bar[timestep + 1, None], alpha_bar[following + 1, None])
            timestep = following
        return answer


def make_teacher(denoiser: ComposingNetwork, process: Process, params: TrainingParams) -> Teacher | None:
    """Make the aim of a training by its params: None (x0 itself), or a teacher where they are of distillation."""
    return Teacher(denoiser, process, params.teacher_calls) if isinstance(params, DistillationParams) else None


def _step_ddim(x_t: Tensor, x0: Tensor, alpha_bar: Tensor, next_alpha_bar: Tensor) -> Tensor:
    """Step once, deterministically (arXiv 2010.02502, eq. 12), each row at its own timestep; at the end, x0."""
    noise = (x_t - alpha_bar.sqrt() * x0) / (1 - alpha_bar).clamp(min=torch.finfo(x_t.dtype).tiny).sqrt()
    return torch.where(next_alpha_bar == 1, x0, next_alpha_bar.sqrt() * x0 + (1 - next_alpha_bar).sqrt() * noise)
