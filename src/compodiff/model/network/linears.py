"""The network's linears: torch's, except that float32 products run in oneDNN where that is faster.

torch hands float32 products to MKL, which keeps its fast paths for Intel processors: on AMD, oneDNN takes half the
time, forward and backward, at the same precision. (bfloat16 goes to oneDNN anyway.)
"""

from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from compodiff.machine import read_processor

# Largest |oneDNN - MKL| over the mean |MKL|: another order of summation gives 4e-6 at width 768.
TOLERANCE = 2e-5


class Linear(nn.Linear):
    """nn.Linear, with the same parameters under the same names."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in) -> (..., out)."""
        usual = x.dtype != torch.float32 or x.device.type != "cpu" or torch.is_autocast_enabled("cpu")
        # oneDNN has no product without rows (a batch without references), torch has.
        if usual or x.numel() == 0 or not is_onednn_faster():
            return super().forward(x)
        rows = cast(Tensor, _Product.apply(x.reshape(-1, self.in_features), self.weight))
        rows = rows if self.bias is None else rows + self.bias
        return rows.view(*x.shape[:-1], self.out_features)


@cache
def is_onednn_faster() -> bool:
    """Return whether this processor is one on which MKL is slow, and oneDNN gives MKL's numbers."""
    if read_processor().vendor != "AuthenticAMD" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(rows, 768, generator=generator) for rows in (5, 96))
    expected = x @ weight.T
    return bool((_multiply(x, weight) - expected).abs().max() <= TOLERANCE * expected.abs().mean())


class _Product(torch.autograd.Function):
    """x W^T. x: (N, in); weight: (out, in)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _multiply(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        to_x, to_weight = ctx.needs_input_grad
        x_gradient = _multiply(gradient, weight.t()) if to_x else None
        return x_gradient, _multiply(gradient.t(), x.t()) if to_weight else None


def _multiply(x: Tensor, weight: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, None, "none", [], "")
    return out
