"""The released weights' names and ours: the same tensors, so that conversion there and back is exact.

The released checkpoint stores thirteen schedule tensors (recomputed here) and the rotary frequencies once a layer (or
once for all, where the writer dropped shared tensors); its hub folder puts all names under `model.`.
"""

import math
import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from compodiff.errors import CheckpointMismatch
from compodiff.model.network.denoiser import DenoiserConfig
from compodiff.model.sampling.schedule import compute_cosine_betas

PREFIX = "model."
ROTARY = re.compile(r"net\.transformer\.layers\.\d+\.0\.rotary_emb\.freqs")
LAYER = re.compile(r"net\.transformer\.layers\.(\d+)\.")
SCHEDULE = "noise_scheduler."
OURS_ONLY = ("constants.embedding_mean", "constants.embedding_std")

MLPS = {"0.0": "0", "1.0": "2", "2": "4"}
OUTSIDE_LAYERS = {
    "net.to_text_embeds.0.weight": "text_projection.weight",
    "net.to_text_embeds.0.bias": "text_projection.bias",
    "net.transformer.rel_pos_bias.relative_attention_bias.weight": "relative_bias",
    "net.transformer.norm.g": "norm.weight",
    "net.transformer.project_out.weight": "output_projection.weight",
} | {
    f"net.{theirs}.net.{their_layer}.{kind}": f"{ours}.{our_layer}.{kind}"
    for theirs, ours in (("to_time_embeds.0.1", "time_mlp"), ("to_mask_embeds.1", "mask_mlp"))
    for their_layer, our_layer in MLPS.items()
    for kind in ("weight", "bias")
}
IN_LAYER = {
    "0.norm.g": "attend_self.norm.weight",
    "0.null_kv": "attend_self.null_kv",
    "0.to_out.0.weight": "attend_self.out.weight",
    "0.to_out.1.g": "attend_self.out_norm.weight",
    "1.norm.g": "attend_context.norm.weight",
    "1.null_kv": "attend_context.keys_values.null_kv",
    "1.to_q.weight": "attend_context.to_q.weight",
    "1.to_kv.weight": "attend_context.keys_values.linear.weight",
    "1.to_out.0.weight": "attend_context.out.weight",
    "1.to_out.1.g": "attend_context.out_norm.weight",
    "2.0.g": "feed_forward.norm.weight",
    "2.1.weight": "feed_forward.up.weight",
    "2.5.weight": "feed_forward.down.weight",
}
QUERY, KEY_VALUE, FUSED = "0.to_q.weight", "0.to_kv.weight", "attend_self.to_qkv.weight"


def convert_from_released(tensors: Mapping[str, Tensor]) -> tuple[DenoiserConfig, int, dict[str, Tensor]]:
    """Read a released state dict.

    Returns:
        The architecture (from the tensors' shapes), num_train_timesteps, and our state dict.

    Raises:
        CheckpointMismatch: a tensor is missing, unknown or of a shape that fits no such network, or the stored schedule
            is not the cosine schedule.
    """
    tensors = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    timesteps = _check_schedule(tensors)
    rotary = [tensor for name, tensor in tensors.items() if ROTARY.fullmatch(name)]
    if not rotary or any(not torch.equal(rotary[0], other) for other in rotary):
        raise CheckpointMismatch("rotary frequencies are missing or differ between layers; not a released checkpoint")
    theirs = {name: t for name, t in tensors.items() if not (name.startswith(SCHEDULE) or ROTARY.fullmatch(name))}
    config = _read_config(theirs)
    names = dict(_list_names(config.depth))
    expected = {*names, *(f"{_name_layer(n)}{part}" for n in range(config.depth) for part in (QUERY, KEY_VALUE))}
    _require_names(expected, set(theirs))
    ours = {our_name: theirs[name] for name, our_name in names.items()}
    for number in range(config.depth):
        query, key_value = (theirs[f"{_name_layer(number)}{part}"] for part in (QUERY, KEY_VALUE))
        if query.shape[1:] != key_value.shape[1:]:
            raise CheckpointMismatch(f"{_name_layer(number)}0 takes two widths at once; not a released checkpoint")
        ours[f"blocks.{number}.{FUSED}"] = torch.cat((query, key_value))
    ours["constants.rotary_frequencies"] = rotary[0]
    ours["constants.embedding_mean"] = torch.zeros(config.embedding_dim)
    ours["constants.embedding_std"] = torch.ones(config.embedding_dim)
    return config, timesteps, ours


def convert_to_released(
    config: DenoiserConfig, num_train_timesteps: int, ours: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Write a state dict of ours under the released names (without prefix).

    Raises:
        CheckpointMismatch: the network has options that the released one does not know.
    """
    mean, std = (ours[name] for name in OURS_ONLY)
    plain = config.embedding_dim == config.width and config.image_slots == 1 and not config.residual
    plain = plain and len(config.token_dims) == 1
    if not plain or bool((mean != 0).any()) or bool((std != 1).any()):
        raise CheckpointMismatch(
            "the released form knows no residual, image slots, input projection, standardising or further text parts"
        )
    theirs = {name: ours[our_name] for name, our_name in _list_names(config.depth)}
    for number in range(config.depth):
        fused = ours[f"blocks.{number}.{FUSED}"]
        query_rows = config.heads * config.head_width
        theirs[f"{_name_layer(number)}{QUERY}"] = fused[:query_rows].clone()
        theirs[f"{_name_layer(number)}{KEY_VALUE}"] = fused[query_rows:].clone()
        theirs[f"{_name_layer(number)}0.rotary_emb.freqs"] = ours["constants.rotary_frequencies"].clone()
    return theirs | {f"{SCHEDULE}{name}": tensor for name, tensor in make_schedule_tensors(num_train_timesteps).items()}


def make_schedule_tensors(num_train_timesteps: int) -> dict[str, Tensor]:
    """Return the thirteen tensors of the released schedule (DDPM, arXiv 2006.11239, eq. 4 to 8), (T,) float32 each."""
    betas = compute_cosine_betas(num_train_timesteps)
    alphas_cumprod = torch.cumprod(1 - betas, 0)
    previous = functional.pad(alphas_cumprod[:-1], (1, 0), value=1.0)
    variance = betas * (1 - previous) / (1 - alphas_cumprod)
    doubles = {
        "betas": betas,
        "alphas_cumprod": alphas_cumprod,
        "alphas_cumprod_prev": previous,
        "sqrt_alphas_cumprod": alphas_cumprod.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - alphas_cumprod).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - alphas_cumprod).log(),
        "sqrt_recip_alphas_cumprod": (1 / alphas_cumprod).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / alphas_cumprod - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * previous.sqrt() / (1 - alphas_cumprod),
        "posterior_mean_coef2": (1 - previous) * (1 - betas).sqrt() / (1 - alphas_cumprod),
        "p2_loss_weight": torch.ones_like(betas),
    }
    return {name: tensor.float() for name, tensor in doubles.items()}


def _name_layer(number: int) -> str:
    return f"net.transformer.layers.{number}."


def _list_names(depth: int) -> Iterator[tuple[str, str]]:
    """Yield their name and ours of every tensor that is the same on both sides."""
    yield from OUTSIDE_LAYERS.items()
    for number in range(depth):
        for theirs, ours in IN_LAYER.items():
            yield f"{_name_layer(number)}{theirs}", f"blocks.{number}.{ours}"


def _check_schedule(tensors: Mapping[str, Tensor]) -> int:
    stored = tensors.get(f"{SCHEDULE}betas")
    if stored is None:
        raise CheckpointMismatch(f"{SCHEDULE}betas is missing; not a released checkpoint")
    is_list = stored.ndim == 1 and len(stored) > 0
    if not is_list or not torch.allclose(stored.double(), compute_cosine_betas(len(stored)), atol=1e-6):
        raise CheckpointMismatch("the stored betas are not the cosine schedule's; not a released checkpoint")
    return len(stored)


def _read_config(theirs: Mapping[str, Tensor]) -> DenoiserConfig:
    """Return the architecture, read off the tensors' shapes."""

    def find_shape(name: str) -> torch.Size:
        if name not in theirs:
            raise CheckpointMismatch(f"{name} is missing; not a released checkpoint")
        shape = theirs[name].shape
        if len(shape) != 2 or 0 in shape:
            raise CheckpointMismatch(f"{name} has the shape {tuple(shape)}, not a matrix's; not a released checkpoint")
        return shape

    def divide_side(name: str, side: int, by: int) -> int:
        count = find_shape(name)[side] // by
        if count < 1:
            raise CheckpointMismatch(f"{name} has the shape {tuple(theirs[name].shape)}, which is too small")
        return count

    width, token_dim = find_shape("net.to_text_embeds.0.weight")
    head_width = find_shape(f"{_name_layer(0)}0.null_kv")[1]
    layers = {found[1] for name in theirs if (found := LAYER.match(name))}
    return DenoiserConfig(
        embedding_dim=find_shape("net.transformer.project_out.weight")[0],
        token_dims=(token_dim,),
        width=width,
        depth=len(layers),
        heads=divide_side(f"{_name_layer(0)}{QUERY}", 0, head_width),
        cross_heads=divide_side(f"{_name_layer(0)}1.to_q.weight", 0, head_width),
        head_width=head_width,
        feed_forward_factor=divide_side(f"{_name_layer(0)}2.5.weight", 1, width),
        mask_size=math.isqrt(find_shape("net.to_mask_embeds.1.net.0.0.weight")[1]),
        image_slots=1,
        residual=False,
    )


def _require_names(expected: set[str], found: set[str]) -> None:
    for what, names in (("missing", expected - found), ("unknown", found - expected)):
        if names:
            first = ", ".join(sorted(names)[:3])
            raise CheckpointMismatch(f"{len(names)} tensors are {what}: {first}; not a released checkpoint")
