"""From several answers to one query to one ranking, for whoever ranks: the benchmarks and the search alike.

Legend: S draws, F fused vectors, D embedding width.
"""

from typing import Literal

from torch import Tensor
from torch.nn import functional

Fusion = Literal["average", "mean_score", "max_score"]


def fuse_draws(draws: Tensor, fusion: Fusion) -> Tensor:
    """Make the vectors to rank by; a picture's score is its best cosine to any. draws: (..., S, D) -> (..., F, D).

    average: the mean of the embeddings (F = 1). mean_score: the mean of the cosines, which is, up to a factor of the
    query, the cosine to the mean of the unit vectors (F = 1). max_score: the best cosine to any draw (F = S).
    """
    if fusion == "max_score":
        return draws
    each = functional.normalize(draws, dim=-1) if fusion == "mean_score" else draws
    return each.mean(-2, keepdim=True)
