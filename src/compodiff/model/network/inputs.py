"""What the denoiser makes of its inputs before the first block: constants, the timestep's embedding, small networks.

Legend: N rows, D embedding width, W network width.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from compodiff.model.network.linears import Linear

ROTARY_WIDTH = 32


class Constants(nn.Module):
    """Numbers stored with the weights that stay float32: rounded to bfloat16 they would shift every embedding."""

    embedding_mean: Tensor
    embedding_std: Tensor
    rotary_frequencies: Tensor

    def __init__(self, embedding_dim: int, head_width: int) -> None:
        super().__init__()
        self.register_buffer("embedding_mean", torch.zeros(embedding_dim))
        self.register_buffer("embedding_std", torch.ones(embedding_dim))
        rotary_width = min(ROTARY_WIDTH, head_width)
        # Made on the processor also where the network is on the meta device: there torch divides by its compiler.
        places = torch.arange(0, rotary_width, 2, device="cpu")
        self.register_buffer("rotary_frequencies", 10000 ** -(places / rotary_width))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Constants":
        def move_constant(tensor: Tensor) -> Tensor:
            place = fn(tensor)
            return place if place.dtype == tensor.dtype else tensor.to(place.device)

        applied: Constants = super()._apply(move_constant, recurse)  # type: ignore[no-untyped-call]
        return applied


def draw_normal(*shape: int) -> Tensor:
    """As torch.randn; nothing is drawn on the meta device, where torch would import its compiler to say so."""
    return torch.empty(*shape) if torch.get_default_device().type == "meta" else torch.randn(*shape)


def make_mlp(width_in: int, width: int) -> nn.Sequential:
    """Make three linears with SiLU between them, hidden width 2 W."""
    hidden = 2 * width
    return nn.Sequential(Linear(width_in, hidden), nn.SiLU(), Linear(hidden, hidden), nn.SiLU(), Linear(hidden, width))


def embed_timestep(timestep: Tensor, width: int) -> Tensor:
    """Return sinusoidal embedding. timestep: (N,) integer or real -> (N, W) float32."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=timestep.device) * -(torch.tensor(10000.0).log() / (half - 1)))
    angles = timestep.float()[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), -1)
