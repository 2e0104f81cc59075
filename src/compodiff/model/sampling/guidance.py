"""Guidance with two weights: how far the answer leans on the reference and on the text (arXiv 2303.11916, eq. 4).

A query has up to three branches: null (no text, no reference), image (reference only) and both. Their x0 predictions
are extrapolated; a branch whose coefficient is zero need not be computed at all.
"""

from dataclasses import dataclass

from torch import Tensor


def combine(null: Tensor, image: Tensor, both: Tensor, *, w_image: float, w_text: float) -> Tensor:
    """Combine the branches to the guided prediction. null, image, both: (N, D) -> (N, D)."""
    return null + w_image * (image - null) + w_text * (both - image)


@dataclass(frozen=True)
class Branch:
    """One conditioning of the network, and its coefficient in the guided prediction."""

    text: bool
    image: bool
    coefficient: float


def list_branches(*, w_image: float, w_text: float, has_text: bool, has_image: bool) -> list[Branch]:
    """Return the branches that `combine` needs, with equal ones merged and those of coefficient zero left out.

    Without a reference the image branch is the null branch; without a text the branch of both is the image branch.
    """
    coefficients = {(False, False): 1 - w_image}
    for key, coefficient in (((False, has_image), w_image - w_text), ((has_text, has_image), w_text)):
        coefficients[key] = coefficients.get(key, 0.0) + coefficient
    kept = [Branch(text, image, value) for (text, image), value in coefficients.items() if value != 0]
    return kept
