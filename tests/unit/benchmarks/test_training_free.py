"""Slerp and BASIC against their definitions, written out plainly."""

import numpy as np
import pytest
from factories import make_encoder_manifest

from compodiff.benchmarks.answers import QueryArrays
from compodiff.benchmarks.scoring.ranking import Floats, normalise, score_pairs
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.benchmarks.training_free import Corpora, answer_basic, interpolate_spherically, project_contrastively
from compodiff.embeddings import Embeddings

PICTURES, QUERIES, DIM = 60, 7, 16


@pytest.fixture
def draw():
    generator = np.random.default_rng(3)
    return lambda *shape: generator.standard_normal(shape).astype(np.float32) + 0.5


@pytest.fixture
def asked(draw) -> QueryArrays:
    """Query i refers to picture i and says text i."""
    pictures, each = draw(PICTURES, DIM), np.arange(QUERIES)
    names = {f"picture {row}": row for row in range(PICTURES)}
    texts = {str(row): row for row in each}
    embeddings = Embeddings(make_encoder_manifest(), pictures, names, draw(QUERIES, DIM), texts, ())
    return QueryArrays(embeddings, pictures[:QUERIES], each, each, np.zeros_like(each), ("",) * QUERIES)


def test_slerp_walks_the_sphere_from_reference_to_text(asked: QueryArrays) -> None:
    ends = normalise(asked.references, np.float64), asked.texts
    for weight in (0.0, 0.3, 1.0):
        (found,) = interpolate_spherically(asked, weight).parts
        found = normalise(found, np.float64)
        angle, walked = (measure_angles(ends[0], other) for other in (ends[1], found))
        np.testing.assert_allclose(walked, weight * angle, atol=1e-6)
        np.testing.assert_allclose(measure_angles(ends[1], found), (1 - weight) * angle, atol=1e-6)


def measure_angles(ones: Floats, others: Floats) -> Floats:
    angles: Floats = np.arccos(np.clip((ones * others).sum(1), -1, 1))
    return angles


def test_the_projection_keeps_what_the_first_corpus_varies_in_and_drops_the_seconds(draw) -> None:
    positive, negative = draw(200, DIM) - 0.5, draw(200, DIM) - 0.5
    positive[:, 8:] *= 0.01
    negative[:, :8] *= 0.01
    projection = project_contrastively(positive, negative)
    np.testing.assert_allclose(projection, np.diag([1.0] * 8 + [0.0] * 8), atol=0.05)


def test_basic_ranks_as_its_definition_says(asked: QueryArrays, draw) -> None:
    gallery = Vectors(tuple(asked.embeddings.picture_row), asked.embeddings.pictures)
    corpora = Corpora(draw(50, DIM), draw(40, DIM), draw(30, DIM))
    vectors, similarity = answer_basic(asked, gallery, corpora)
    query, row = (each.reshape(-1) for each in np.mgrid[:QUERIES, :PICTURES])
    scores = score_pairs(similarity.normalise(np.float64), vectors.embeddings, query, row).reshape(QUERIES, PICTURES)
    expected = score_plainly(asked, gallery.embeddings, corpora)
    # Scores are a multiple of the definition's: no ranking differs.
    np.testing.assert_allclose(scores / np.abs(scores).max(), expected / np.abs(expected).max(), atol=1e-9)


def score_plainly(asked: QueryArrays, pictures: Floats, corpora: Corpora) -> Floats:
    def unit(vectors: Floats) -> Floats:
        return vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)

    of_pictures, of_texts = unit(corpora.pictures).mean(0), unit(corpora.captions).mean(0)
    known, captions, relative = (
        unit(each) - mean
        for each, mean in zip(
            (corpora.pictures, corpora.captions, corpora.relative_captions),
            (of_pictures, of_texts, of_texts),
            strict=True,
        )
    )
    values, vectors = np.linalg.eigh(0.8 * np.cov(captions.T, ddof=1) - 0.2 * relative.T @ relative / 29)
    kept = vectors[:, values > 0]
    gallery, texts = unit(pictures) - of_pictures, unit(asked.texts) - of_texts
    images = []
    for reference in unit(asked.references) - of_pictures:
        near = kept @ kept.T @ reference @ gallery.T
        best = np.argsort(-near)[:25]
        weights = np.exp(0.1 * np.array([*near[best], 1.0]))
        images.append(weights / weights.sum() @ np.stack([*gallery[best], reference]) @ kept @ kept.T)
    lowest_image, lowest_text = (known @ known.T).min(), (relative @ known.T).min()
    by_image = np.maximum((np.stack(images) @ gallery.T - lowest_image) / abs(lowest_image), 0)
    by_text = np.maximum((texts @ gallery.T - lowest_text) / abs(lowest_image), 0)
    fused: Floats = by_image * by_text - 0.1 * (by_image + by_text) ** 2
    return fused
