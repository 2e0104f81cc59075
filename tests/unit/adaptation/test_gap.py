"""The gap between texts and pictures: references move to where pictures are, targets stay what a text is."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compodiff.adaptation.gap import Gap, make_ends
from compodiff.embeddings.lengths import shorten_rows
from compodiff.params import AdaptationParams, load_params

PARAMS = load_params(Path(__file__).parents[3] / "params.yaml").adaptation


def make_params(**changes: object) -> AdaptationParams:
    return AdaptationParams.model_validate(PARAMS.model_dump() | changes)


def make_cones(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Texts of length 3 and pictures of length 7 around two directions."""
    towards = np.eye(8, dtype=np.float32)
    spread = rng.normal(size=(2, 200, 8)).astype(np.float32) / 5
    return 3 * shorten_rows(towards[0] + spread[0]), 7 * shorten_rows(towards[1] + spread[1])


def test_moved_texts_lie_around_the_pictures_at_their_length() -> None:
    texts, pictures = make_cones(np.random.default_rng(0))
    gap = Gap.measure(texts, pictures, moved=True)
    moved = gap.move(texts)
    np.testing.assert_allclose(moved.mean(axis=0), 7 * shorten_rows(pictures).mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(gap.place_targets(texts, make_params(target="text")), 7 * shorten_rows(texts), atol=1e-4)
    np.testing.assert_allclose(gap.place_targets(texts, make_params(target="moved")), moved)


def test_without_pictures_texts_stay_where_they_are() -> None:
    texts, pictures = make_cones(np.random.default_rng(0))
    for gap in (Gap.measure(texts, pictures[:0], moved=True), Gap.measure(texts, pictures, moved=False)):
        np.testing.assert_allclose(shorten_rows(gap.move(texts)), shorten_rows(texts), atol=1e-5)
    assert Gap.measure(texts, pictures[:0], moved=True).describe()["distance"] == 0


def test_noise_is_on_references_alone_and_as_large_as_params_say() -> None:
    rng = np.random.default_rng(0)
    texts, pictures = make_cones(rng)
    gap = Gap.measure(texts, pictures, moved=True)
    reference, target = make_ends(gap, texts, texts, make_params(noise=2.0, target="moved"), rng)
    np.testing.assert_allclose(target, gap.move(texts))
    size = np.linalg.norm(reference - target, axis=1).mean() / (gap.length * gap.radius)
    assert 1.8 < size < 2.1
