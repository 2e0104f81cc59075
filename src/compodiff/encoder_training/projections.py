"""The projections of the default encoder, trained contrastively on the outputs of its frozen towers.

The image projection starts from the principal components of each map of the image tower, every map scaled to the same
variance, so that details which no caption names survive; then both projections are trained as in CLIP, with several
right captions per picture and batches in which a concept's variants (its skin tones, genders, styles) are each other's
negatives. Legend: N pictures, F joined map values, K components, B pictures of a batch, D embedding width.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from compodiff.params import EmbeddedEncoderParams

OVERSAMPLING, POWER_ITERATIONS = 20, 3
FIRST_LOGIT_SCALE = 1 / 0.03


@dataclass(frozen=True)
class ProjectionExamples:
    """Pictures with what the towers make of them.

    Attributes:
        maps: (N, F) joined maps of the image tower.
        widths: name of a map -> how many of the F values are its own, in the order in which they are joined.
        states: (T, D_text) pooled states of the text tower.
        captions: (N, C) rows of `states` that describe each picture.
        concepts: N names; the pictures of one concept differ in details.
    """

    maps: Tensor
    widths: Mapping[str, int]
    states: Tensor
    captions: NDArray[np.int64]
    concepts: Sequence[str]


def train_projections(
    image: nn.Linear, text: nn.Module, examples: ProjectionExamples, params: EmbeddedEncoderParams
) -> list[float]:
    """Set the weights of both projections.

    Args:
        image: F -> D, its start does not matter.
        text: D_text -> D, trained from where it is.
        examples: of train concepts only.
        params: seed, steps, rates, components.

    Returns:
        The loss of each step.
    """
    components = map_components(examples, params)
    kept = components.project(examples.maps)
    mixing = nn.Parameter(_select_first_components(examples.widths, components, params))
    text.requires_grad_(True)
    losses = _train(mixing, text, kept, examples, params)
    text.requires_grad_(False)
    weight, bias = components.fold(mixing.detach())
    with torch.no_grad():
        image.weight.copy_(weight)
        image.bias.copy_(bias)
    return losses


@dataclass(frozen=True)
class Components:
    """Principal components of each map: `(map - mean) @ basis`, side by side.

    Attributes:
        means: of each map, (F_i,).
        bases: of each map, (F_i, K_i).
    """

    means: Sequence[Tensor]
    bases: Sequence[Tensor]

    def project(self, maps: Tensor) -> Tensor:
        """Return the components of joined maps, (N, F) -> (N, K)."""
        blocks = _split(maps, [len(mean) for mean in self.means])
        parts = [(block - mean) @ basis for block, mean, basis in zip(blocks, self.means, self.bases, strict=True)]
        return torch.cat(parts, dim=1)

    def fold(self, mixing: Tensor) -> tuple[Tensor, Tensor]:
        """Return one linear layer, weight (D, F) and bias (D,), for components mixed by `mixing` (D, K)."""
        parts = _split(mixing, [basis.shape[1] for basis in self.bases])
        weight = torch.cat([part @ basis.T for part, basis in zip(parts, self.bases, strict=True)], dim=1)
        return weight, -weight @ torch.cat(list(self.means))


def map_components(examples: ProjectionExamples, params: EmbeddedEncoderParams) -> Components:
    """Find the components of each map; values are standardised first, and each map's total variance is one."""
    generator = torch.Generator().manual_seed(params.seed)
    means, bases = [], []
    for block in _split(examples.maps, list(examples.widths.values())):
        mean, scale = block.mean(dim=0), block.std(dim=0).clamp(min=1e-5)
        standardised = (block - mean) / scale
        total = standardised.square().sum() / (len(block) - 1)
        directions = find_principal_directions(standardised, min(params.components, *block.shape), generator)
        means.append(mean)
        bases.append(directions / scale[:, None] / total.sqrt())
    return Components(means, bases)


def find_principal_directions(centred: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the first `count` right singular vectors of centred (N, F), as (F, count), largest first.

    By randomised subspace iteration (arXiv 0909.4061, algorithm 4.4): minutes become seconds where F is thousands.
    """
    width = centred.shape[1]
    span = torch.randn(width, min(count + OVERSAMPLING, *centred.shape), generator=generator)
    for _ in range(POWER_ITERATIONS):
        span, _ = torch.linalg.qr(centred.T @ (centred @ span))
    _, _, rotation = torch.linalg.svd(centred @ span, full_matrices=False)
    directions: Tensor = (span @ rotation.T)[:, :count]
    return directions


def compute_contrastive_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """Compute CLIP's loss where a row may have several right answers: -log of their share. Both arguments: (B, B)."""

    def compute_one_way(scores: Tensor, right: Tensor) -> Tensor:
        return (scores.logsumexp(1) - scores.masked_fill(~right, -torch.inf).logsumexp(1)).mean()

    return (compute_one_way(logits, positive) + compute_one_way(logits.T, positive.T)) / 2


def _split(columns: Tensor, widths: Sequence[int]) -> Sequence[Tensor]:
    return torch.tensor_split(columns, tuple(accumulate(widths))[:-1], dim=1)


def _select_first_components(names: Iterable[str], components: Components, params: EmbeddedEncoderParams) -> Tensor:
    """Return the start of the mixing, (D, K): each map's first components, as many as it has dimensions in params."""
    blocks = [
        torch.eye(params.maps[name].dimensions, basis.shape[1])  # type: ignore[index]
        for name, basis in zip(names, components.bases, strict=True)
    ]
    joined: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return joined


def _train(
    mixing: nn.Parameter,
    text: nn.Module,
    components: Tensor,
    examples: ProjectionExamples,
    params: EmbeddedEncoderParams,
) -> list[float]:
    logit_scale = nn.Parameter(torch.tensor(FIRST_LOGIT_SCALE).log())
    optimizer = torch.optim.AdamW(
        [
            {"params": [mixing], "lr": params.image_learning_rate, "weight_decay": 0.0},
            {"params": text.parameters(), "lr": params.text_learning_rate, "weight_decay": params.weight_decay},
            {"params": [logit_scale], "lr": params.text_learning_rate, "weight_decay": 0.0},
        ]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_compute_rate, params=params))
    generator = np.random.default_rng(params.seed)
    variants = _group_variants(examples.concepts)
    losses = []
    with torch.enable_grad(), tqdm(range(params.steps), "training the projections", unit=" steps", disable=None) as bar:
        for _ in bar:
            chosen = _draw_batch(variants, generator, params)
            captions = generator.permuted(examples.captions[chosen], axis=1)[:, 0]
            image_embedding = functional.normalize(components[chosen] @ mixing.T, dim=1)
            text_embedding = functional.normalize(text(examples.states[captions]), dim=1)
            describes = (examples.captions[chosen][:, :, None] == captions).any(axis=1)
            logits = image_embedding @ text_embedding.T * logit_scale.exp()
            loss = compute_contrastive_loss(logits, torch.from_numpy(describes))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            bar.set_postfix_str(f"loss {losses[-1]:.3f}", refresh=False)
    return losses


def _compute_rate(step: int, params: EmbeddedEncoderParams) -> float:
    warmup = min(1.0, (step + 1) / params.warmup_steps)
    return warmup * (0.5 + 0.5 * math.cos(math.pi * step / params.steps))


def _group_variants(concepts: Sequence[str]) -> list[NDArray[np.int64]]:
    rows = defaultdict(list)
    for row, concept in enumerate(concepts):
        rows[concept].append(row)
    return [np.array(members) for members in rows.values()]


def _draw_batch(
    variants: Sequence[NDArray[np.int64]], generator: np.random.Generator, params: EmbeddedEncoderParams
) -> NDArray[np.int64]:
    """Return rows of pictures: whole concepts as far as they fit, so that most negatives are variants."""
    chosen: list[NDArray[np.int64]] = []
    for concept in generator.permutation(len(variants)):
        members = generator.permutation(variants[concept])[: params.max_variants]
        chosen.append(members)
        if sum(map(len, chosen)) >= params.batch_size:
            break
    return np.concatenate(chosen)[: params.batch_size]
