"""The three layers of a denoiser block: self-attention, cross-attention and feed-forward.

Self-attention is over the two query tokens (x_t, timestep) and a learned null key; cross-attention is over the context,
whose keys and values are handed in because they do not depend on x_t. Both give each query row its null key and value.
Legend: N query rows, R context rows (N = R * draws), K context length, H heads, E head width, W network width.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from compodiff.model.network.inputs import draw_normal
from compodiff.model.network.linears import Linear

QUERY_TOKENS = 2
COSINE_SCALE = 16.0
SMALLEST_NORM = 1e-12
# Rows of the projected context before its first token: zeros, which a null reference projects to, and the learned null.
ZERO_KEY, NULL_KEY, FIRST_TOKEN = 0, 1, 2


def make_layer_norm(width: int) -> nn.LayerNorm:
    """Make a LayerNorm with a gain and no offset, as everywhere in this network."""
    return nn.LayerNorm(width, eps=1e-5, bias=False)


def compute_rotation_factors(frequencies: Tensor, head_width: int) -> Tensor:
    """Return rotary embedding of the two positions as complex factors, (2, 1, E / 2) complex64.

    frequencies: (F,) radians a position. The pairs are the dims (0, 1), (2, 3), ... of a head; those beyond F stay.
    """
    angles = functional.pad(frequencies.float(), (0, head_width // 2 - len(frequencies)))
    positions = torch.arange(QUERY_TOKENS, device=frequencies.device)[:, None, None]
    return torch.polar(torch.ones_like(angles), positions * angles)


@dataclass(frozen=True)
class Positions:
    """What the layers know of the order of the two query tokens.

    rotation: (2, 1, E / 2) complex64; bias: (3, 2, H) float32 to (learned null key, x_t, timestep) from each token.
    """

    rotation: Tensor
    bias: Tensor


class SelfAttention(nn.Module):
    """Cosine-similarity attention with one shared key and value head (multi-query, arXiv 1911.02150)."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.norm = make_layer_norm(width)
        self.to_qkv = Linear(width, (heads + 2) * head_width, bias=False)
        self.null_kv = nn.Parameter(draw_normal(2, head_width))
        self.out = Linear(heads * head_width, width, bias=False)
        self.out_norm = make_layer_norm(width)

    def forward(self, x: Tensor, positions: Positions, queries: int) -> Tensor:
        """x: (N, 2, W); the first `queries` tokens ask -> (N, queries, W).

        Between the linears everything is float32, whatever the precision of the weights.
        """
        qkv = self.to_qkv(self.norm(x)).view(*x.shape[:2], self.heads + 2, self.head_width).float()
        null_key, null_value = self.null_kv.float().unbind()
        pairs = torch.view_as_complex(qkv[:, :, :-1].unflatten(-1, (-1, 2)))
        turned = torch.view_as_real(pairs * positions.rotation).flatten(-2)
        query, key = turned[:, :queries, :-1], turned[:, :, -1]
        # The scores are scaled by the queries' lengths rather than the queries, which are forty times as many numbers.
        shrink = torch.linalg.vector_norm(query, dim=-1).clamp_min(SMALLEST_NORM).reciprocal()
        keys = functional.normalize(torch.cat((null_key.expand(len(x), 1, -1), key), 1), dim=-1)
        values = torch.cat((null_value.expand(len(x), 1, -1), qkv[:, :, -1]), 1)
        cosines = torch.bmm(keys, query.flatten(1, 2).mT) * shrink.flatten(1)[:, None]
        # Keys by queries, so that the softmax over three keys runs along the outer dimension (25 times as fast).
        weights = (COSINE_SCALE * cosines + positions.bias[:, :queries].flatten(1)).softmax(1)
        mixed = torch.bmm(weights.mT, values).to(x.dtype)
        out: Tensor = self.out_norm(self.out(mixed.reshape(len(x), queries, -1)))
        return out


class Projected(NamedTuple):
    """The context as keys and values of one layer.

    keys, values: (H, R, K, E), the learned null among them; bias: (R, 1, K), -inf on padding, None without padding.
    """

    keys: Tensor
    values: Tensor
    bias: Tensor | None


class Unprojected(NamedTuple):
    """The context as it enters every layer. tokens: (R, K, W), zero for a null reference; bias as in `Projected`."""

    tokens: Tensor
    bias: Tensor | None


class KeysValues(nn.Module):
    """Projects the context to the keys and values of one layer's cross-attention."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.linear = Linear(width, 2 * heads * head_width, bias=False)
        self.null_kv = nn.Parameter(draw_normal(2, head_width))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (P, W) -> (P, 2 * H * E), the row NULL_KEY replaced by the learned null key and value."""
        table: Tensor = self.linear(tokens)
        table[NULL_KEY] = self.null_kv[:, None].expand(-1, self.heads, -1).flatten()
        return table

    def split_by_head(self) -> tuple[Tensor, Tensor]:
        """Return the projections to keys and to values, (H, E, W) each."""
        keys, values = self.linear.weight.view(2, self.heads, self.head_width, -1).unbind()
        return keys, values


class CrossAttention(nn.Module):
    """Attention to a context that does not depend on x_t.

    Two ways to the same numbers: over keys and values that were projected once for many calls, or, for few calls, over
    the context itself. There the projections move to the query's side, q (W_k t) = (q W_k) t, as in multi-head latent
    attention (arXiv 2405.04434, section 2.1.2): two query tokens are projected instead of dozens of context tokens.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.norm = make_layer_norm(width)
        self.to_q = Linear(width, heads * head_width, bias=False)
        self.keys_values = KeysValues(width, heads, head_width)
        self.out = Linear(heads * head_width, width, bias=False)
        self.out_norm = make_layer_norm(width)

    def forward(self, x: Tensor, context: Projected | Unprojected) -> Tensor:
        """x: (N, Q, W) -> (N, Q, W); the draws of a context row share its keys."""
        query = self.to_q(self.norm(x)) * self.head_width**-0.5
        mixed = (
            self._attend_projected(query, context)
            if isinstance(context, Projected)
            else self._attend_unprojected(query, context)
        )
        out: Tensor = self.out_norm(self.out(mixed.reshape(query.shape)))
        return out

    def _attend_projected(self, query: Tensor, context: Projected) -> Tensor:
        """Attend to the keys. query: (N, Q, H * E) -> (R, N / R * Q, H, E)."""
        keys, values, bias = context
        heads, rows, length, width = keys.shape
        asked = query.view(rows, -1, heads, width).permute(2, 0, 1, 3).reshape(heads * rows, -1, width)
        # Plain products beat scaled_dot_product_attention on the CPU: two to eight queries a row are too few for it.
        scores = torch.bmm(asked, keys.view(-1, length, width).mT)
        if bias is not None:
            scores = (scores.view(heads, rows, -1, length) + bias).view(heads * rows, -1, length)
        mixed = torch.bmm(scores.softmax(-1), values.view(-1, length, width))
        return mixed.view(heads, rows, -1, width).permute(1, 2, 0, 3)

    def _attend_unprojected(self, query: Tensor, context: Unprojected) -> Tensor:
        """Attend to the tokens. query: (N, Q, H * E) -> (R, N / R * Q, H, E)."""
        (tokens, bias), rows, heads = context, len(context.tokens), self.heads
        to_keys, to_values = self.keys_values.split_by_head()
        null_key, null_value = self.keys_values.null_kv.unbind()
        query = query.view(rows, -1, heads, self.head_width)
        asked = torch.bmm(query.flatten(0, 1).transpose(0, 1), to_keys)
        asked = asked.view(heads, rows, -1, tokens.shape[-1]).transpose(0, 1).flatten(1, 2)
        # This way round the gradient of the tokens comes in their own layout: adding those of all layers up costs a
        # tenth of what adding transposed ones does, which was 6 % of a training step.
        scores = torch.bmm(tokens, asked.mT).mT
        scores = scores if bias is None else scores + bias.to(scores.dtype)
        null_score = torch.matmul(query, null_key).transpose(1, 2).reshape(rows, -1, 1)
        weights = torch.cat((null_score, scores), -1).softmax(-1)
        seen = torch.bmm(weights[:, :, 1:], tokens).view(rows, heads, -1, tokens.shape[-1])
        values = torch.bmm(seen.transpose(0, 1).flatten(1, 2), to_values.mT).view(heads, rows, -1, self.head_width)
        null_weight = weights[:, :, :1].view(rows, heads, -1, 1)
        return torch.addcmul(values.permute(1, 2, 0, 3), null_weight.transpose(1, 2), null_value)


class FeedForward(nn.Module):
    """SwiGLU (arXiv 2002.05202)."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.norm = make_layer_norm(width)
        self.up = Linear(width, 2 * factor * width, bias=False)
        self.down = Linear(factor * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., W) -> (..., W)."""
        value, gate = self.up(self.norm(x)).chunk(2, dim=-1)
        out: Tensor = self.down(value * functional.silu(gate))
        return out


class Block(nn.Module):
    """One layer of the denoiser; each part is added to its input."""

    def __init__(self, width: int, heads: int, cross_heads: int, head_width: int, feed_forward_factor: int) -> None:
        super().__init__()
        self.attend_self = SelfAttention(width, heads, head_width)
        self.attend_context = CrossAttention(width, cross_heads, head_width)
        self.feed_forward = FeedForward(width, feed_forward_factor)

    def forward(self, x: Tensor, positions: Positions, context: Projected | Unprojected, queries: int) -> Tensor:
        """x: (N, 2, W); the first `queries` tokens go on -> (N, queries, W)."""
        x = x[:, :queries] + self.attend_self(x, positions, queries)
        x = x + self.attend_context(x, context)
        out: Tensor = x + self.feed_forward(x)
        return out
