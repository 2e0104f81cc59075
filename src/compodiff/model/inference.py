"""A denoiser made ready to serve: precision chosen, linears packed for the processor.

torch hands float32 linears to MKL, which on AMD processors takes 1.2 to 4 times as long as oneDNN, and lays bfloat16
weights out anew at every call. A weight packed once for oneDNN cures both. Each packed layer is first checked against
the plain one; a layer that differs stays plain.
"""

from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from compodiff.model.network.attention import KeysValues
from compodiff.model.network.composing import ComposingNetwork
from compodiff.precision import DTYPES, AskedPrecision, choose_precision

# Largest |packed - plain| over the mean |plain|: another order of summation gives 4e-6 and 2e-2 at width 768.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 4e-2}
Network = TypeVar("Network", bound=ComposingNetwork)

PROBE_ROWS = 4
EXPECTED_ROWS = 96


class PackedLinear(nn.Module):
    """A linear whose weight lies in oneDNN's own layout. For inference on the CPU; not part of a state dict.

    weight: the plain one beside it, for a layer that also multiplies by it in parts; otherwise None, to save memory.
    """

    def __init__(self, linear: nn.Linear, keep_weight: bool) -> None:
        super().__init__()
        self.weight = linear.weight.detach() if keep_weight else None
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), EXPECTED_ROWS)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """As nn.Linear."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return out


@torch.inference_mode()
def prepare_for_inference(denoiser: Network, precision: AskedPrecision, device: torch.device | None = None) -> Network:
    """Convert `denoiser` in place and return it: weights of `precision`, and packed linears where oneDNN packs them.

    Packed weights are no longer in the state dict, so a model is saved before, not after.

    Args:
        denoiser: a network.
        precision: of its weights.
        device: where it is put; where it is by default.
    """
    device = device or denoiser.device
    denoiser = denoiser.eval().requires_grad_(False).to(device, DTYPES[choose_precision(precision, device)])
    if device.type == "cpu" and can_pack(denoiser.dtype):
        for parent in list(denoiser.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.Linear):
                    setattr(parent, name, _pack_if_equal(child, keep_weight=isinstance(parent, KeysValues)))
    return denoiser


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Return whether oneDNN packs weights of `dtype` here: tried, because it refuses some by an error only."""
    try:
        linear = nn.Linear(PROBE_ROWS, PROBE_ROWS, bias=False).to(dtype)
        PackedLinear(linear, keep_weight=False)(linear.weight.detach())
    except (AttributeError, RuntimeError):  # AttributeError: a torch without oneDNN has no such operators
        return False
    return True


def _pack_if_equal(linear: nn.Linear, *, keep_weight: bool) -> nn.Module:
    packed = PackedLinear(linear, keep_weight)
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(PROBE_ROWS, linear.in_features, generator=generator).to(linear.weight.dtype)
    plain = linear(probe).float()
    error = (packed(probe).float() - plain).abs().max()
    return packed if bool(error <= TOLERANCE[linear.weight.dtype] * plain.abs().mean()) else linear
