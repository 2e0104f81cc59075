from dataclasses import replace

import numpy as np
import pytest
import torch
from factories import make_embedded_encoder_params
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from compodiff.encoder_training.projections import (
    ProjectionExamples,
    compute_contrastive_loss,
    find_principal_directions,
    map_components,
    train_projections,
)

PARAMS = make_embedded_encoder_params(
    maps={"pixels": {"grid": 1, "dimensions": 4}, "head": {"grid": 1, "dimensions": 6}},
    components=12,
    steps=60,
    text_learning_rate=1e-2,
)


def planted_examples(pictures: int = 120) -> ProjectionExamples:
    """Pictures and captions that share a hidden cause, in maps of unequal scale; two pictures to a shared caption."""
    generator = torch.Generator().manual_seed(1)
    cause = torch.randn(pictures, 5, generator=generator)
    maps = torch.cat(
        [
            100 * cause @ torch.randn(5, 20, generator=generator) + torch.randn(pictures, 20, generator=generator),
            0.01 * cause @ torch.randn(5, 40, generator=generator)
            + 0.001 * torch.randn(pictures, 40, generator=generator),
        ],
        dim=1,
    )
    words = torch.randn(5, 16, generator=generator)
    states = torch.cat([cause @ words, cause.view(-1, 2, 5).mean(dim=1) @ words])
    own = np.arange(pictures)
    captions = np.stack([own, pictures + own // 2], axis=1)
    return ProjectionExamples(
        maps, {"pixels": 20, "head": 40}, states, captions, [f"concept {row // 4}" for row in own]
    )


def projections() -> tuple[nn.Linear, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        text = nn.Sequential(nn.Linear(16, 32, bias=False), nn.GELU(), nn.Linear(32, 10, bias=False))
        return nn.Linear(60, 10).requires_grad_(False), text.requires_grad_(False)


def test_captions_find_their_pictures_after_training() -> None:
    examples, (image, text) = planted_examples(), projections()
    losses = train_projections(image, text, examples, PARAMS)
    assert len(losses) == PARAMS.steps
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    embeddings = functional.normalize(image(examples.maps), dim=1)
    found = (functional.normalize(text(examples.states[:120]), dim=1) @ embeddings.T).argmax(dim=1)
    assert (found == torch.arange(120)).float().mean() > 0.5  # chance is 1 in 120
    assert not any(parameter.requires_grad for parameter in (*image.parameters(), *text.parameters()))


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    weights = []
    for seed in (17, 17, 18):
        image, text = projections()
        train_projections(image, text, planted_examples(), PARAMS.model_copy(update={"seed": seed, "steps": 5}))
        weights.append(image.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_embedding_starts_as_components_of_every_map() -> None:
    examples, (image, text) = planted_examples(), projections()
    still = PARAMS.model_copy(update={"steps": 1, "image_learning_rate": 1e-12})
    train_projections(image, text, examples, still)
    embeddings = image(examples.maps)
    torch.testing.assert_close(embeddings.mean(dim=0), torch.zeros(10), atol=1e-4, rtol=0)
    # Five causes make nearly all of each map's variance, which is scaled to one.
    by_map = embeddings.var(dim=0).split([4, 6])
    assert 0.6 < by_map[0].sum() < 1.001
    assert 0.95 < by_map[1].sum() < 1.001


@settings(max_examples=15, deadline=None)
@given(st.integers(12, 40), st.integers(3, 30), st.integers(1, 3), st.integers(0, 99))
def test_directions_are_those_of_the_full_decomposition(rows: int, width: int, count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    spectrum = 3.0 ** -torch.arange(width)
    centred = torch.randn(rows, width, generator=generator) * spectrum
    directions = find_principal_directions(centred, count, generator)
    expected = torch.linalg.svd(centred, full_matrices=False).Vh[:count]
    agreement = (directions.T * expected).sum(dim=1).abs()
    torch.testing.assert_close(agreement, torch.ones(count), atol=1e-3, rtol=0)


def test_folded_components_are_one_linear_layer() -> None:
    examples = planted_examples()
    components = map_components(examples, PARAMS)
    kept = components.project(examples.maps)
    assert kept.shape == (120, 24)
    mixing = torch.randn(10, 24, generator=torch.Generator().manual_seed(4))
    weight, bias = components.fold(mixing)
    torch.testing.assert_close(functional.linear(examples.maps, weight, bias), kept @ mixing.T, atol=1e-3, rtol=1e-3)


def test_a_constant_map_value_does_no_harm() -> None:
    examples = planted_examples()
    examples.maps[:, 3] = 7.0
    components = map_components(replace(examples), PARAMS)
    assert all(basis.isfinite().all() for basis in components.bases)


def plain_loss(logits: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    """Row by row, as it is defined."""
    terms = []
    for scores, right in ((logits, positive), (logits.T, positive.T)):
        for row in range(len(scores)):
            shares = scores[row].softmax(dim=0)
            terms.append(-shares[right[row]].sum().log())
    return torch.stack(terms).mean()


@given(st.integers(1, 6), st.integers(0, 1000))
def test_the_loss_is_the_plain_one(size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(size, size, generator=generator)
    positive = (torch.rand(size, size, generator=generator) < 0.3) | torch.eye(size, dtype=torch.bool)
    torch.testing.assert_close(
        compute_contrastive_loss(logits, positive), plain_loss(logits, positive), atol=1e-5, rtol=1e-5
    )


def test_with_one_right_answer_each_it_is_clip_s_loss() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(6))
    own = torch.arange(5)
    clip = (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(compute_contrastive_loss(logits, torch.eye(5, dtype=torch.bool)), clip)


@pytest.mark.parametrize("steps", [0, -1])
def test_steps_must_be_positive(steps: int) -> None:
    with pytest.raises(ValueError, match="steps"):
        make_embedded_encoder_params(steps=steps)
