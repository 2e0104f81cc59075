"""`compodiff bench denoiser`: sampling at the released size, ours against the plain implementation.

Random weights, 77 text tokens, guidance (1.5, 7.5), one negative text for all queries. The plain peer does the same at
every step, so one guided step of it is measured and multiplied by the steps. Before anything is timed, both are held to
the same numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from compodiff.model.inference import prepare_for_inference
from compodiff.model.network.context import PackedText
from compodiff.model.network.denoiser import RELEASED, Denoiser, DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.model.sampling.query import Conditions, SamplerOptions
from compodiff.model.sampling.sampler import Predict, call_timesteps, guide, sample
from compodiff.precision import DTYPES, Precision
from compodiff.speed import plain
from compodiff.speed.timing import describe_machine, list_worthwhile_precisions, measure_medians, use_one_thread

TOKENS = 77
W_IMAGE, W_TEXT = 1.5, 7.5
PROCESS = Process("diffusion", 1000)
# The rows of the table that the issue of this benchmark asks for, and the whole grid.
HEADLINE = ((16, 1, 10), (16, 4, 5), (1, 1, 10))
GRID = tuple(product((1, 16), (1, 4), (5, 10, 25)))
# Largest |ours - plain| over the mean |plain| in float32, and smallest cosine of bfloat16 to plain float32, unguided.
LARGEST_ERROR, SMALLEST_COSINE = 1e-5, 0.9999


@dataclass(frozen=True)
class Peers:
    """One network in each precision that is worthwhile here, as we run it and as the plain peer does."""

    config: DenoiserConfig
    ours: dict[Precision, Denoiser]
    plain: dict[Precision, dict[str, Tensor]]


@dataclass(frozen=True)
class TimedInputs:
    """A batch of queries. text: (B, L, D_text); negative: (1, L, D_text); image: (B, D); x_t: (B * draws, D)."""

    text: Tensor
    negative: Tensor
    image: Tensor
    x_t: Tensor
    draws: int


def run(cases: Sequence[tuple[int, int, int]], repeats: int, config: DenoiserConfig = RELEASED) -> dict[str, Any]:
    """Measure each case (batch, draws, steps).

    Returns:
        A JSON-able dict: machine, equality, and a row a case with CPU seconds a query, ratios to the plain float32 and
        to the plain peer of the same precision, and the share of the machine's limit that is reached.

    Raises:
        ArithmeticError: ours and plain do not agree.
    """
    with use_one_thread(), torch.inference_mode():
        peers, limits = make_peers(config), describe_machine()
        agreement = compare_peers(peers, make_inputs(config, 2, 2))
        return {
            "machine": limits,
            "parameters": sum(weight.numel() for weight in peers.plain["float32"].values()),
            "equality": agreement,
            "rows": [_measure_row(peers, case, repeats, limits) for case in cases],
        }


def make_peers(config: DenoiserConfig) -> Peers:
    """Return the same random weights for all."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = Denoiser(config).state_dict()
    ours: dict[Precision, Denoiser] = {}
    for precision in list_worthwhile_precisions():
        denoiser = Denoiser(config)
        denoiser.load_state_dict(weights)
        ours[precision] = prepare_for_inference(denoiser, precision)
    copies = {name: {key: value.to(DTYPES[name]) for key, value in weights.items()} for name in ours}
    return Peers(config, ours, copies)


def make_inputs(config: DenoiserConfig, batch: int, draws: int) -> TimedInputs:
    """Return random queries, the same for the same shape."""
    generator = torch.Generator().manual_seed(batch)

    def draw_normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    (token_dim,) = config.token_dims  # the released network has one text part
    text, negative = draw_normal(batch, TOKENS, token_dim), draw_normal(1, TOKENS, token_dim)
    image = draw_normal(batch, config.width)
    return TimedInputs(text, negative, image, draw_normal(batch * draws, config.width), draws)


def make_our_predict(denoiser: Denoiser, inputs: TimedInputs, options: SamplerOptions) -> Predict:
    """Return our guided network; all that the steps share is computed in here, once."""
    conditions = Conditions(PackedText.pack(inputs.negative), PackedText.pack(inputs.text), inputs.image)
    return guide(denoiser, conditions, options, call_timesteps(options, PROCESS))


def make_plain_predict(config: DenoiserConfig, weights: dict[str, Tensor], inputs: TimedInputs) -> Predict:
    """Return the plain guided network; every call repeats all the work."""
    dtype = weights["relative_bias"].dtype
    text, negative, image = (
        tensor.expand(len(inputs.text), *tensor.shape[1:]).repeat_interleave(inputs.draws, 0).to(dtype)
        for tensor in (inputs.text, inputs.negative, inputs.image)
    )
    mask = torch.zeros(len(image), 64, 64)

    def predict(x_t: Tensor, timestep: float) -> Tensor:
        time = torch.full((len(x_t),), float(timestep))
        x0 = plain.guide(weights, config, x_t.to(dtype), time, (text, image, mask, negative), (W_IMAGE, W_TEXT))
        return x0.float()

    return predict


def compare_peers(peers: Peers, inputs: TimedInputs) -> dict[str, float]:
    """Return how far ours is from plain float32: the network, a guided step and a whole sampling.

    Raises:
        ArithmeticError: further than LARGEST_ERROR or SMALLEST_COSINE allow.
    """
    config, weights = peers.config, peers.plain["float32"]
    rows = (inputs.text, inputs.image, torch.zeros(len(inputs.text), 64, 64))
    repeated = tuple(row.repeat_interleave(inputs.draws, 0) for row in rows)
    time = torch.full((len(inputs.x_t),), 500.0)
    network = plain.predict(weights, config, inputs.x_t, time, (repeated[0], repeated[1], repeated[2]))
    unguided, options = make_options(1, inputs.draws, 1, 1), make_options(3, inputs.draws)
    ours = {name: make_our_predict(net, inputs, unguided)(inputs.x_t, 500) for name, net in peers.ours.items()}
    guided_plain = make_plain_predict(config, weights, inputs)
    guided_ours = make_our_predict(peers.ours["float32"], inputs, options)
    sampled = [sample(peer, options, PROCESS, lambda: inputs.x_t) for peer in (guided_ours, guided_plain)]
    found = {
        "network_error_float32": _compute_error(ours["float32"], network),
        "guided_error_float32": _compute_error(guided_ours(inputs.x_t, 500), guided_plain(inputs.x_t, 500)),
        "sampled_error_float32": _compute_error(*sampled),
    }
    if "bfloat16" in ours:
        found["network_cosine_bfloat16"] = float(torch.cosine_similarity(ours["bfloat16"], network).min())
    if found["network_error_float32"] > LARGEST_ERROR or found.get("network_cosine_bfloat16", 1) < SMALLEST_COSINE:
        raise ArithmeticError(f"the fast network and the plain one differ: {found}")
    return found


def estimate_minimal_seconds(
    config: DenoiserConfig, case: tuple[int, int, int], limits: dict[str, Any], precision: str
) -> float:
    """Estimate what no implementation here undercuts: all multiplications at GEMM speed, or reading all weights."""
    batch, draws, steps = case
    inner, cross = config.heads * config.head_width, config.cross_heads * config.head_width
    attention = config.width * (2 * inner + 2 * config.head_width + 2 * cross)
    weights = config.depth * (attention + 3 * config.feed_forward_factor * config.width**2)
    keys_values = config.depth * 2 * cross * config.width
    texts = (batch + 1) * TOKENS * sum(config.token_dims) * config.width
    context = (batch * (TOKENS + 1) + TOKENS) * keys_values + texts
    flops, size = 1e9 * limits["gemm_gflops"][precision], 4 if precision == "float32" else 2
    step = max(2 * weights * 2 * 3 * batch * draws / flops, weights * size / 1e9 / limits["read_gb_per_second"])
    return float(2 * context / flops + steps * step)


def _measure_row(peers: Peers, case: tuple[int, int, int], repeats: int, limits: dict[str, Any]) -> dict[str, Any]:
    batch, draws, steps = case
    inputs, options = make_inputs(peers.config, batch, draws), make_options(steps, draws)
    timed: dict[str, Callable[[], object]] = {}
    for precision in peers.ours:
        timed[f"ours_{precision}"] = partial(_sample, peers.ours[precision], inputs, options)
        step = make_plain_predict(peers.config, peers.plain[precision], inputs)
        timed[f"plain_{precision}"] = partial(step, inputs.x_t, 999)
    seconds = measure_medians(timed, repeats)
    for precision in peers.ours:
        seconds[f"plain_{precision}"] *= steps
    row: dict[str, Any] = {"batch": batch, "draws": draws, "steps": steps}
    row |= {f"{name}_seconds_per_query": value / batch for name, value in seconds.items()}
    for precision in peers.ours:
        ours = seconds[f"ours_{precision}"]
        row[f"ratio_{precision}"] = seconds["plain_float32"] / ours
        row[f"ratio_{precision}_to_plain_{precision}"] = seconds[f"plain_{precision}"] / ours
        row[f"share_of_limit_{precision}"] = estimate_minimal_seconds(peers.config, case, limits, precision) / ours
    return row


def _sample(denoiser: Denoiser, inputs: TimedInputs, options: SamplerOptions) -> Tensor:
    return sample(make_our_predict(denoiser, inputs, options), options, PROCESS, lambda: inputs.x_t)


def make_options(steps: int, draws: int, w_image: float = W_IMAGE, w_text: float = W_TEXT) -> SamplerOptions:
    """Return DDIM without noise on the trailing grid."""
    return SamplerOptions(steps, "ddim", "trailing", 0.0, w_image, w_text, draws, 0.0, 0.0)


def _compute_error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().mean())
