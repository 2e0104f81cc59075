"""`compodiff bench training`: one optimizer step at the released size, ours against the plain one.

In the precision that the processor multiplies fastest. Captions of 6 to 24 tokens. The plain peer pads them to 77 and
runs torch's default AdamW; ours drops the padding, runs the fused AdamW and can reuse a row's projected conditions for
several noise draws. A sample is one noisy embedding.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from compodiff.model.network.context import PackedStates, PackedText
from compodiff.model.network.denoiser import RELEASED, Denoiser, DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.precision import DTYPES
from compodiff.speed import plain
from compodiff.speed.timing import describe_machine, list_worthwhile_precisions, measure_medians, use_one_thread

BATCHES = (64, 256)
DRAWS = 4
PADDED, SHORTEST, LONGEST = 77, 6, 24
PROCESS = Process("diffusion", 1000)
# Largest difference of a gradient over the mean of its absolute values, both peers in float32 on unpadded texts.
LARGEST_ERROR = 1e-3


class TimedBatch:
    """Random triplets; `padded` and `packed` are the same captions, padded to 77 tokens and without padding."""

    def __init__(self, config: DenoiserConfig, rows: int, dtype: torch.dtype, longest: int = LONGEST) -> None:
        self.generator = torch.Generator().manual_seed(rows)
        lengths = torch.randint(min(SHORTEST, longest), longest + 1, (rows,), generator=self.generator)
        (token_dim,) = config.token_dims  # the released network has one text part
        padded = self.draw_normal(rows, PADDED, token_dim)
        self.packed = PackedText((PackedStates.pack(padded, torch.arange(PADDED) < lengths[:, None]),))
        self.padded = padded.to(dtype)
        self.image, self.target = self.draw_normal(rows, config.width), self.draw_normal(rows, config.width)
        self.mask = torch.zeros(rows, 64, 64)

    def draw_normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers of the batch's own generator."""
        return torch.randn(shape, generator=self.generator)

    def add_noise(self, draws: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return targets, x_t and timesteps, `draws` of each row adjacent."""
        target = self.target.repeat_interleave(draws, 0)
        timestep = PROCESS.draw_timesteps(len(target), self.generator)
        return target, PROCESS.add_noise(target, self.draw_normal(*target.shape), timestep), timestep


def run(batches: Sequence[int], repeats: int, config: DenoiserConfig = RELEASED) -> dict[str, Any]:
    """Measure each batch size.

    Returns:
        A JSON-able dict: machine, equality, and a row a batch size with samples a CPU second and ratios to plain.

    Raises:
        ArithmeticError: ours and plain do not give the same gradients.
    """
    with use_one_thread():
        agreement = measure_gradient_error(config)
        rows = [_measure_row(config, batch, repeats) for batch in batches]
        return {"machine": describe_machine(), "equality": {"gradient_error_float32": agreement}, "rows": rows}


def measure_gradient_error(config: DenoiserConfig) -> float:
    """Return the largest difference of any gradient between the peers, float32, texts of 77 real tokens.

    Raises:
        ArithmeticError: it exceeds LARGEST_ERROR.
    """
    denoiser = _make_denoiser(config, torch.float32)
    batch = TimedBatch(config, 2, torch.float32)
    batch.packed = PackedText.pack(batch.padded)
    noised = batch.add_noise(1)
    gradients = []
    for loss in (_compute_our_loss, _compute_plain_loss):
        denoiser.zero_grad()
        torch.autograd.backward(loss(denoiser, batch, noised))
        weights = denoiser.named_parameters()
        gradients.append({name: each.grad.clone() for name, each in weights if each.grad is not None})
    ours, theirs = gradients
    error = max(float((ours[name] - theirs[name]).abs().max() / theirs[name].abs().mean()) for name in theirs)
    if error > LARGEST_ERROR or ours.keys() != theirs.keys():
        raise ArithmeticError(f"a gradient of the fast step differs from the plain one's by {error:.1e} of its mean")
    return error


def _measure_row(config: DenoiserConfig, rows: int, repeats: int) -> dict[str, Any]:
    dtype = DTYPES[list_worthwhile_precisions()[-1]]
    batch = TimedBatch(config, rows, dtype)
    ours, theirs = _make_denoiser(config, dtype), _make_denoiser(config, dtype)
    fused = torch.optim.AdamW(ours.parameters(), lr=1e-4, weight_decay=0.06, fused=True)
    usual = torch.optim.AdamW(theirs.parameters(), lr=1e-4, weight_decay=0.06)
    seconds = measure_medians(
        {
            "plain": partial(_step, theirs, usual, batch, _compute_plain_loss, 1),
            "ours": partial(_step, ours, fused, batch, _compute_our_loss, 1),
            f"ours_{DRAWS}_draws": partial(_step, ours, fused, batch, _compute_our_loss, DRAWS),
        },
        repeats,
    )
    samples = {"plain": rows, "ours": rows, f"ours_{DRAWS}_draws": rows * DRAWS}
    speed = {name: samples[name] / taken for name, taken in seconds.items()}
    row: dict[str, Any] = {"batch": rows} | {f"{name}_samples_per_second": value for name, value in speed.items()}
    return row | {f"ratio_{name}": value / speed["plain"] for name, value in speed.items() if name != "plain"}


def train_step(denoiser: Denoiser, optimizer: torch.optim.Optimizer, batch: TimedBatch) -> None:
    """Make one optimizer step of ours."""
    _step(denoiser, optimizer, batch, _compute_our_loss, 1)


Noised = tuple[Tensor, Tensor, Tensor]
Loss = Callable[[Denoiser, TimedBatch, Noised], Tensor]


def _step(denoiser: Denoiser, optimizer: torch.optim.Optimizer, batch: TimedBatch, loss: Loss, draws: int) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(loss(denoiser, batch, batch.add_noise(draws)))
    optimizer.step()


def _compute_our_loss(denoiser: Denoiser, batch: TimedBatch, noised: Noised) -> Tensor:
    target, x_t, timestep = noised
    context = denoiser.prepare_context(batch.packed, batch.image, uses=len(x_t) // len(batch.image))
    x0: Tensor = denoiser(x_t, timestep, context)
    return (x0 - target).square().mean()


def _compute_plain_loss(denoiser: Denoiser, batch: TimedBatch, noised: Noised) -> Tensor:
    target, x_t, timestep = noised
    dtype = denoiser.dtype
    weights = dict(denoiser.named_parameters()) | dict(denoiser.named_buffers())
    conditions = batch.padded, batch.image.to(dtype), batch.mask
    x0 = plain.predict(weights, denoiser.config, x_t.to(dtype), timestep.float(), conditions)
    return (x0.float() - target).square().mean()


def _make_denoiser(config: DenoiserConfig, dtype: torch.dtype) -> Denoiser:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Denoiser(config).to(dtype)
