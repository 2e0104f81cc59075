"""The loss of both stages: how far the denoised embedding is from the target's (arXiv 2303.11916, eq. 1 and 2).

The tasks differ only in the conditions that a row brings: text; masked picture, mask and text; reference and text. How
the target is made noisy is up to the process: the paper's diffusion, or one of the two controls beside it.
Legend: B rows, S noisy embeddings a row, N = B * S, D embedding width.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from compodiff.model.network.composing import ComposingNetwork
from compodiff.model.sampling.process import Process
from compodiff.params import TrainingParams
from compodiff.training.batch import Batch

# What the network should answer: x0 (N, D), x_t (N, D), timestep (N,), batch -> (N, D), standardised.
Aim = Callable[[Tensor, Tensor, Tensor, Batch], Tensor]

SHORTEST_FLOW_TIME = 0.05  # the weight 1 / u^2 of flow matching has no bound at u = 0
SAME_PICTURE = 1 - 1e-5


class Objective(nn.Module):
    """A batch -> its loss. The only parameters are the denoiser's."""

    def __init__(
        self, denoiser: ComposingNetwork, params: TrainingParams, process: Process, aim: Aim | None = None
    ) -> None:
        """Aim at x0 itself, or at what `aim` makes of it."""
        super().__init__()
        self.denoiser = denoiser
        self._params, self._process, self._aim = params, process, aim

    def forward(self, batch: Batch) -> Tensor:
        """The mean over rows and noisy embeddings, a scalar."""
        draws = batch.noise.shape[1]
        x0 = self.denoiser.standardise(batch.target).repeat_interleave(draws, 0)
        timestep = batch.timestep.flatten()
        x_t = self._process.add_noise(x0, batch.noise.flatten(0, 1), timestep)
        context = self.denoiser.prepare_context(batch.texts, batch.images, batch.masks, batch.rows, uses=draws)
        denoised = self.denoiser(x_t, timestep, context)
        wanted = x0 if self._aim is None else self._aim(x0, x_t, timestep, batch)
        loss: Tensor = (compute_loss_weight(self._process, timestep) * (denoised - wanted).square().mean(-1)).mean()
        if self._params.contrastive_weight > 0:
            wrong = torch.cat((batch.images, batch.others))
            contrast = compute_contrastive_loss(
                self.denoiser.restore(denoised), batch.target, wrong, temperature=self._params.contrastive_temperature
            )
            loss = loss + self._params.contrastive_weight * contrast
        return loss


def compute_loss_weight(process: Process, timestep: Tensor) -> Tensor:
    """Compute the weight of an error of x0: 1, or for flow matching its velocity's, 1 / u^2. timestep: (N,) -> (N,)."""
    if process.objective != "flow_matching":
        return torch.ones_like(timestep, dtype=torch.float32)
    return (timestep / process.num_train_timesteps).clamp(min=SHORTEST_FLOW_TIME).square().reciprocal()


def compute_contrastive_loss(denoised: Tensor, targets: Tensor, others: Tensor, *, temperature: float) -> Tensor:
    """Compute InfoNCE (arXiv 1807.03748) on cosines of raw embeddings, as retrieval ranks them.

    Each denoised embedding should be nearer to its target than to the other rows' targets and to `others`, among them
    the references: "nothing has changed" is the wrong answer that lies nearest.

    Args:
        denoised: (N, D) raw embeddings, those of a row adjacent.
        targets: (B, D) raw embeddings.
        others: (O, D) raw embeddings; where one shows a row's own target, it is no wrong answer to that row.
        temperature: divides the cosines.
    """
    keys = functional.normalize(torch.cat((targets, others)), dim=-1)
    own = torch.arange(len(targets), device=targets.device)
    same = keys[: len(targets)] @ keys.T > SAME_PICTURE
    same[own, own] = False
    draws = len(denoised) // len(targets)
    scores = functional.normalize(denoised, dim=-1) @ keys.T / temperature
    scores = scores.masked_fill(same.repeat_interleave(draws, 0), -torch.inf)
    return functional.cross_entropy(scores, own.repeat_interleave(draws))
