"""The denoiser: a transformer that predicts x0, an image embedding, from a noisy one (arXiv 2303.11916, section 4.1).

Two query tokens, x_t and the timestep, attend to a context of text tokens, reference embedding and mask. Its keys and
values in every layer are computed once a query (`Denoiser.context`), then used at every step and draw.

Embeddings are raw, as the encoder makes them, wherever they enter `context`; x_t and x0 live in the network's space,
standardised per dimension by `standardise` and `restore` (both the identity for the released weights).
Legend: R context rows, N = R * draws query rows, U distinct items, D embedding width, W network width.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from compodiff.errors import InputInvalid
from compodiff.model.attention import (
    FIRST_TOKEN,
    QUERY_TOKENS,
    Block,
    CrossAttention,
    LayerContext,
    Positions,
    layer_norm,
    rotation_factors,
)
from compodiff.model.context import Context, ContextRows, PackedText, key_rows
from compodiff.params import DenoiserParams

RELATIVE_BUCKETS = 32
ROTARY_WIDTH = 32
MASK_SIDE = 64


@dataclass(frozen=True)
class DenoiserConfig:
    """The shape of the network; the released one is `RELEASED`."""

    embedding_dim: int
    token_dim: int
    width: int
    depth: int
    heads: int
    cross_heads: int
    head_width: int
    feed_forward_factor: int
    mask_size: int
    image_slots: int
    residual: bool

    @classmethod
    def of(cls, params: DenoiserParams, *, embedding_dim: int, token_dim: int) -> "DenoiserConfig":
        """The section `denoiser` of params.yaml for an encoder of these widths."""
        shape = {name: value for name, value in params if name in cls.__dataclass_fields__}
        return cls(embedding_dim=embedding_dim, token_dim=token_dim, **shape)

    def to_json(self) -> dict[str, Any]:
        """As a JSON-able dict; `DenoiserConfig(**it)` gives it back."""
        return asdict(self)


RELEASED = DenoiserConfig(768, 1280, 768, 12, 16, 8, 64, 4, MASK_SIDE, 1, residual=False)


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
        self.register_buffer("rotary_frequencies", 10000 ** -(torch.arange(0, rotary_width, 2) / rotary_width))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Constants":
        def moved(tensor: Tensor) -> Tensor:
            place = fn(tensor)
            return place if place.dtype == tensor.dtype else tensor.to(place.device)

        applied: Constants = super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return applied


def mlp(width_in: int, width: int) -> nn.Sequential:
    """Three linears with SiLU between them, hidden width 2 W."""
    hidden = 2 * width
    return nn.Sequential(
        nn.Linear(width_in, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, width)
    )


def sinusoid(timestep: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding. timestep: (N,) integer or real -> (N, W) float32."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=timestep.device) * -(torch.tensor(10000.0).log() / (half - 1)))
    angles = timestep.float()[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), -1)


class Denoiser(nn.Module):
    """Predicts x0 from x_t, the timestep and the context."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.text_projection = nn.Linear(config.token_dim, width)
        fits = config.embedding_dim == width
        self.input_projection = nn.Identity() if fits else nn.Linear(config.embedding_dim, width, bias=False)
        # The released network hands the reference over as it is. No offset, so that a null reference stays zero.
        as_it_is = fits and config.image_slots == 1
        slots = config.image_slots * width
        self.image_projection = nn.Identity() if as_it_is else nn.Linear(config.embedding_dim, slots, bias=False)
        self.time_mlp = mlp(width, width)
        self.mask_mlp = mlp(config.mask_size**2, width)
        self.relative_bias = nn.Parameter(torch.randn(RELATIVE_BUCKETS, config.heads))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.cross_heads, config.head_width, config.feed_forward_factor)
            for _ in range(config.depth)
        )
        self.norm = layer_norm(width)
        self.output_projection = nn.Linear(width, config.embedding_dim, bias=False)
        if config.residual:
            nn.init.zeros_(self.output_projection.weight)
        self.constants = Constants(config.embedding_dim, config.head_width)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.relative_bias.dtype

    def standardise(self, embedding: Tensor) -> Tensor:
        """Raw embedding (..., D) -> the network's space, float32."""
        return (embedding.float() - self.constants.embedding_mean) / self.constants.embedding_std

    def restore(self, x0: Tensor) -> Tensor:
        """The network's space (..., D) -> raw embedding, float32."""
        return x0.float() * self.constants.embedding_std + self.constants.embedding_mean

    def context(
        self,
        texts: PackedText,
        images: Tensor | None = None,
        masks: Tensor | None = None,
        rows: ContextRows | None = None,
    ) -> Context:
        """Project the context once for all steps and draws.

        Args:
            texts: distinct texts.
            images: (U, D) raw reference embeddings (of the reference with its masked region blanked, where masked).
            masks: (U, 64, 64) bool or real, 1 on the region to replace.
            rows: which of them each row uses; default: row i uses text i, image i and mask i.

        Raises:
            InputInvalid: a width or mask size that the network does not take, or a text without tokens.
        """
        config = self.config
        texts.require(config.token_dim)
        rows = rows or ContextRows.one_each(len(texts), images=images is not None, masks=masks is not None)
        references = self._references(images)
        tokens = torch.cat(
            (
                self.relative_bias.new_zeros(FIRST_TOKEN, config.width),
                self.text_projection(texts.tokens.to(self.dtype)),
                self.image_projection(references.to(self.dtype)).reshape(-1, config.width),
                self.mask_mlp(self._pooled(masks)),
            )
        )
        index, padding = key_rows(texts.lengths, rows, len(references), config.image_slots)
        bias = None if padding is None else torch.zeros_like(padding, dtype=self.dtype).masked_fill(padding, -torch.inf)
        bias = None if bias is None else bias[:, None]
        pairs = [self._gather(layer.keys_values(tokens), index) for layer in self._cross()]
        return Context(
            layers=tuple(LayerContext(keys, values, bias) for keys, values in pairs),
            reference=functional.pad(references, (0, 0, 0, 1))[rows.image.to(references.device)],
        )

    def forward(self, x_t: Tensor, timestep: Tensor, context: Context) -> Tensor:
        """Predict x0.

        Args:
            x_t: (N, D) in the network's space; N = R * draws, the draws of a context row adjacent.
            timestep: (N,) or (1,) for all; integer, or real for flow matching.
            context: of R rows.

        Returns:
            (N, D) float32 in the network's space.
        """
        x = self.input_projection(x_t.to(self.dtype))
        time = self.time_mlp(sinusoid(timestep, self.config.width).to(self.dtype))
        tokens = torch.stack((x, time.expand_as(x)), 1)
        positions = self._positions()
        for number, (block, layer) in enumerate(zip(self.blocks, context.layers, strict=True)):
            # Only the first token leaves the network, so the last block computes nothing else.
            queries = 1 if number == self.config.depth - 1 else QUERY_TOKENS
            tokens = block(tokens, positions, layer, queries)
        x0: Tensor = self.output_projection(self._stable_norm(tokens[:, 0])).float()
        if self.config.residual:
            x0 = x0 + context.reference.repeat_interleave(len(x0) // len(context.reference), 0)
        return x0

    def _references(self, images: Tensor | None) -> Tensor:
        if images is None:
            return self.constants.embedding_mean.new_zeros(0, self.config.embedding_dim)
        if images.shape[-1] != self.config.embedding_dim:
            raise InputInvalid(f"embeddings are {images.shape[-1]} wide, the network takes {self.config.embedding_dim}")
        return self.standardise(images)

    def _pooled(self, masks: Tensor | None) -> Tensor:
        """The empty mask, then `masks`, averaged down to the network's mask size: (1 + U, mask_size ** 2)."""
        empty = self.constants.embedding_mean.new_zeros(1, MASK_SIDE, MASK_SIDE)
        if masks is not None and masks.shape[1:] != empty.shape[1:]:
            shape = " x ".join(map(str, masks.shape[1:]))
            raise InputInvalid(f"a mask is {shape}; resize it to {MASK_SIDE} x {MASK_SIDE}")
        stacked = empty if masks is None else torch.cat((empty, masks.to(empty)))
        pooled = functional.avg_pool2d(stacked[:, None], MASK_SIDE // self.config.mask_size)
        return pooled.flatten(1).to(self.dtype)

    def _gather(self, table: Tensor, index: Tensor) -> Tensor:
        """Rows of projected tokens -> keys and values, (2, H, R, K, E)."""
        heads, width = self.config.cross_heads, self.config.head_width
        rows = table.view(len(table), 2 * heads, width).transpose(0, 1).index_select(1, index.flatten())
        return rows.view(2, heads, *index.shape, width)

    def _cross(self) -> Iterator[CrossAttention]:
        for block in self.blocks:
            yield cast(Block, block).attend_context

    def _positions(self) -> Positions:
        # T5's relative bias: keys that are not behind the query share bucket 0. Of (null, x_t, timestep) only the null
        # key, which stands one place before x_t's own index, is behind, and only seen from the timestep token.
        buckets = torch.zeros(QUERY_TOKENS, QUERY_TOKENS + 1, dtype=torch.long, device=self.relative_bias.device)
        buckets[1, 0] = 1
        rotation = rotation_factors(self.constants.rotary_frequencies, self.config.head_width)
        return Positions(rotation, self.relative_bias[buckets].transpose(0, 1).float())

    def _stable_norm(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x / x.amax(-1, keepdim=True).detach())
        return out
