"""The denoiser written plainly: padded texts, everything computed anew at every call. The peer we are measured by.

It is the released architecture as published, without our options; it works on the state dict of a `Denoiser` and gives
the same numbers.
Legend: N rows, L text tokens, K context length, D embedding = network width, H heads, E head width.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from compodiff.model.network.denoiser import DenoiserConfig

Weights = Mapping[str, Tensor]


def predict(
    weights: Weights, config: DenoiserConfig, x_t: Tensor, timestep: Tensor, conditions: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Predict x0 (N, D). x_t: (N, D); timestep: (N,); conditions: text (N, L, D_text), image, mask (N, 64, 64)."""
    text, image, mask = conditions
    words = functional.linear(text, weights["text_projection.weight"], weights["text_projection.bias"])
    masked = apply_mlp(weights, "mask_mlp", mask.flatten(1).to(x_t.dtype))
    context = torch.cat((words, image[:, None], masked[:, None]), 1)
    half = config.width // 2
    frequencies = torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
    angles = timestep[:, None] * frequencies
    time = apply_mlp(weights, "time_mlp", torch.cat((angles.sin(), angles.cos()), -1).to(x_t.dtype))
    tokens = torch.stack((x_t, time), 1)
    for number in range(config.depth):
        prefix = f"blocks.{number}."
        layer = {name.removeprefix(prefix): weights[name] for name in weights if prefix in name}
        tokens = tokens + attend_self(layer, config, weights, tokens)
        tokens = tokens + attend_context(layer, config, tokens, context)
        tokens = tokens + feed_forward(layer, tokens)
    tokens = normalise(tokens / tokens.amax(-1, keepdim=True).detach(), weights["norm.weight"])
    return functional.linear(tokens, weights["output_projection.weight"])[:, 0]


def guide(
    weights: Weights,
    config: DenoiserConfig,
    x_t: Tensor,
    timestep: Tensor,
    conditions: tuple[Tensor, Tensor, Tensor, Tensor],
    w: tuple[float, float],
) -> Tensor:
    """Predict x0 guided by three rows per query; conditions as for `predict`, then the negative text (N, L, D_text)."""
    text, image, mask, negative = conditions
    stacked = torch.cat((text, negative, negative)), torch.cat((image, image, 0 * image)), torch.cat((mask, mask, mask))
    x0 = predict(weights, config, x_t.repeat(3, 1), timestep.repeat(3), stacked)
    both, only_image, null = x0.chunk(3)
    return null + w[0] * (only_image - null) + w[1] * (both - only_image)


def apply_mlp(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Return three linears with SiLU between."""
    for layer in (0, 2):
        x = functional.silu(functional.linear(x, weights[f"{name}.{layer}.weight"], weights[f"{name}.{layer}.bias"]))
    return functional.linear(x, weights[f"{name}.4.weight"], weights[f"{name}.4.bias"])


def normalise(x: Tensor, gain: Tensor) -> Tensor:
    """Apply LayerNorm without offset."""
    return functional.layer_norm(x, x.shape[-1:], gain, eps=1e-5)


def turn(x: Tensor, frequencies: Tensor) -> Tensor:
    """Return rotary embedding over the sequence. x: (..., L, E)."""
    turned = 2 * len(frequencies)
    angles = torch.arange(x.shape[-2])[:, None] * frequencies
    cosine, sine = (each.repeat_interleave(2, -1).to(x.dtype) for each in (angles.cos(), angles.sin()))
    pairs = x[..., :turned].reshape(*x.shape[:-1], -1, 2)
    crossed = torch.stack((-pairs[..., 1], pairs[..., 0]), -1).flatten(-2)
    return torch.cat((x[..., :turned] * cosine + crossed * sine, x[..., turned:]), -1)


def attend_self(layer: Weights, config: DenoiserConfig, weights: Weights, x: Tensor) -> Tensor:
    """Attend by multi-query cosine attention of the two tokens. x: (N, 2, D)."""
    heads, width, frequencies = config.heads, config.head_width, weights["constants.rotary_frequencies"]
    qkv = functional.linear(normalise(x, layer["attend_self.norm.weight"]), layer["attend_self.to_qkv.weight"])
    query, key, value = qkv[..., : -2 * width], qkv[..., -2 * width : -width], qkv[..., -width:]
    query = turn(query.reshape(*x.shape[:2], heads, width).transpose(1, 2), frequencies)
    key = turn(key, frequencies)
    null_key, null_value = layer["attend_self.null_kv"][:, None, None].expand(-1, len(x), 1, -1)
    key, value = torch.cat((null_key, key), 1), torch.cat((null_value, value), 1)
    query, key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
    bias = weights["relative_bias"][torch.tensor([[0, 0, 0], [1, 0, 0]])].permute(2, 0, 1)
    scores = 16 * torch.einsum("nhie,nje->nhij", query, key) + bias
    mixed = torch.einsum("nhij,nje->nhie", scores.softmax(-1, dtype=torch.float32).to(x.dtype), value)
    out = functional.linear(mixed.transpose(1, 2).flatten(2), layer["attend_self.out.weight"])
    return normalise(out, layer["attend_self.out_norm.weight"])


def attend_context(layer: Weights, config: DenoiserConfig, x: Tensor, context: Tensor) -> Tensor:
    """Attend to the context. x: (N, 2, D); context: (N, K, D)."""
    heads, width = config.cross_heads, config.head_width
    query = functional.linear(normalise(x, layer["attend_context.norm.weight"]), layer["attend_context.to_q.weight"])
    keys_values = functional.linear(context, layer["attend_context.keys_values.linear.weight"])
    parts = (query, *keys_values.chunk(2, -1))
    query, key, value = (each.reshape(*each.shape[:2], heads, width).transpose(1, 2) for each in parts)
    null = layer["attend_context.keys_values.null_kv"][:, None, None, None]
    null_key, null_value = null.expand(-1, len(x), heads, 1, -1)
    key, value = torch.cat((null_key, key), 2), torch.cat((null_value, value), 2)
    scores = torch.einsum("nhie,nhje->nhij", query, key) * width**-0.5
    mixed = torch.einsum("nhij,nhje->nhie", scores.softmax(-1, dtype=torch.float32).to(x.dtype), value)
    out = functional.linear(mixed.transpose(1, 2).flatten(2), layer["attend_context.out.weight"])
    return normalise(out, layer["attend_context.out_norm.weight"])


def feed_forward(layer: Weights, x: Tensor) -> Tensor:
    """Apply SwiGLU."""
    x = normalise(x, layer["feed_forward.norm.weight"])
    value, gate = functional.linear(x, layer["feed_forward.up.weight"]).chunk(2, -1)
    return functional.linear(value * functional.silu(gate), layer["feed_forward.down.weight"])
