"""Fused draws against the scores that they stand for."""

import pytest
import torch
from torch.nn import functional

from compodiff.model.fusion import fuse_draws


@pytest.mark.parametrize("fusion", ["average", "mean_score", "max_score"])
def test_the_best_cosine_ranks_as_the_fused_score_does(fusion: str) -> None:
    generator = torch.Generator().manual_seed(3)
    # Lengths differ a lot, so that averaging embeddings and averaging scores rank differently.
    draws = torch.randn(5, 4, 6, generator=generator) * torch.logspace(-1, 1, 4)[:, None]
    gallery = functional.normalize(torch.randn(50, 6, generator=generator), dim=-1)
    cosines = functional.normalize(draws, dim=-1) @ gallery.T
    scores = {
        "average": functional.cosine_similarity(draws.mean(1)[:, None], gallery, dim=-1),
        "mean_score": cosines.mean(1),
        "max_score": cosines.amax(1),
    }
    found = (functional.normalize(fuse_draws(draws, fusion), dim=-1) @ gallery.T).amax(1)  # type: ignore[arg-type]
    assert torch.equal(found.argsort(), scores[fusion].argsort())
    others = (scores[other].argsort() for other in scores if other != fusion)
    assert not any(torch.equal(found.argsort(), other) for other in others)


def test_one_draw_stays_as_it_is() -> None:
    draws = torch.randn(3, 1, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(fuse_draws(draws, "average"), draws)
    assert torch.equal(fuse_draws(draws, "max_score"), draws)
