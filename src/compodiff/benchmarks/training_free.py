"""Two more ways to answer without a model, which look at more than the query: slerp, and BASIC of the i-CIR paper.

Q queries, N gallery pictures, D embedding width.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compodiff.benchmarks.answers import QueryArrays
from compodiff.benchmarks.scoring.ranking import Floats, Reals, Similarity, normalise
from compodiff.benchmarks.scoring.vectors import Vectors

# As the authors of BASIC set them (arXiv 2510.25387).
NEGATIVE_SHARE = 0.2  # weight of the negative corpus in the contrastive PCA
COMPONENTS = 250
EXPANDED_BY = 25  # nearest pictures that are mixed into the query's
EXPANSION_SHARPNESS = 0.1
HARRIS = 0.1  # how much a picture loses that fits one of the two only
_QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class Corpora:
    """What is known of pictures and texts before any query is asked: raw embeddings (n, D) of each, from training sets.

    Attributes:
        pictures: any.
        captions: what pictures show: what the projection keeps.
        relative_captions: what is changed about pictures: what the projection drops.
    """

    pictures: Floats
    captions: Floats
    relative_captions: Floats


def interpolate_spherically(asked: QueryArrays, text_weight: float) -> Similarity:
    """Go `text_weight` of the way from the reference to the text along the sphere (slerp, arXiv 2405.00571)."""
    references, texts = normalise(asked.references, np.float64), asked.texts
    angle = np.arccos(np.clip((references * texts).sum(1, keepdims=True), -1, 1))  # (Q, 1)
    angle = np.clip(angle, 1e-6, math.pi - 1e-6)  # for equal ones, the limit: a straight line
    return Similarity((np.sin((1 - text_weight) * angle) * references + np.sin(text_weight * angle) * texts,))


def answer_basic(asked: QueryArrays, gallery: Vectors, corpora: Corpora) -> tuple[Vectors, Similarity]:
    """Rank by BASIC (arXiv 2510.25387): centring, contrastive PCA of the reference, two scores fused by Harris.

    The texts are not put into contexts, as the authors do beside this: the encoder is not asked again.

    Returns:
        The gallery in the space of the scores, and the similarity that ranks it.
    """
    pictures, captions = normalise(corpora.pictures, np.float64), normalise(corpora.captions, np.float64)
    relative = normalise(corpora.relative_captions, np.float64)
    of_pictures, of_texts = pictures.mean(0), captions.mean(0)
    projection = project_contrastively(captions - of_texts, relative - of_texts)  # (D, D)
    ranked = normalise(gallery.embeddings, np.float64) - of_pictures  # (N, D)
    references = normalise(asked.references, np.float64) - of_pictures  # (Q, D)
    references = expand_queries(references, ranked, projection) @ projection
    texts = asked.texts - of_texts
    lowest = (_find_lowest(each, pictures - of_pictures) for each in (pictures - of_pictures, relative - of_texts))
    # An inner product is a cosine where all vectors are equally long: what they lack goes to dimensions of its own.
    longest = max(np.linalg.norm(references, axis=1).max(), np.linalg.norm(texts, axis=1).max())
    farthest = np.linalg.norm(ranked, axis=1).max()
    of_reference, of_text = (-each / (longest * farthest) for each in lowest)
    fusion = HarrisFusion(of_reference, of_text)
    parts = tuple(np.concatenate([each, _fill_up(each, longest, 1)], 1) for each in (references, texts))
    padded = Vectors(gallery.ids, np.concatenate([ranked, _fill_up(ranked, farthest, 0)], 1))
    return padded, Similarity(parts, fusion)


def project_contrastively(positive: Floats, negative: Floats) -> Reals:
    """Return the projection (D, D) onto where `positive` (n, D) varies and `negative` (m, D) does not."""
    scatter = [each.T @ each / max(1, len(each) - 1) for each in (positive, negative)]
    values, vectors = np.linalg.eigh((1 - NEGATIVE_SHARE) * scatter[0] - NEGATIVE_SHARE * scatter[1])
    kept = vectors[:, ::-1][:, : min(COMPONENTS, int((values > 0).sum()))]  # the largest first
    projection: Reals = kept @ kept.T
    return projection


def expand_queries(references: Floats, ranked: Floats, projection: Floats) -> Reals:
    """Mix into each reference (Q, D) the pictures (N, D) that lie nearest to it, itself with the similarity 1."""
    expanded = np.empty_like(references, np.float64)
    count = min(EXPANDED_BY, len(ranked))
    for start in range(0, len(references), _QUERIES_AT_ONCE):
        own = references[start : start + _QUERIES_AT_ONCE]
        scores = own @ projection @ ranked.T  # (q, N)
        nearest = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        near = np.concatenate([np.take_along_axis(scores, nearest, 1), np.ones((len(own), 1))], 1)
        share = np.exp(EXPANSION_SHARPNESS * near)
        share /= share.sum(1, keepdims=True)
        pictures = np.concatenate([ranked[nearest], own[:, None]], 1)  # (q, count + 1, D)
        expanded[start : start + len(own)] = np.einsum("qk,qkd->qd", share, pictures)
    return expanded


@dataclass(frozen=True)
class HarrisFusion:
    """Fuse two scores a and b to a b - HARRIS (a + b)^2, after each is raised by its offset and cut at 0."""

    of_reference: float
    of_text: float

    def __call__(self, first: NDArray, second: NDArray, out: NDArray | None = None) -> NDArray:  # type: ignore[type-arg]
        """Fuse, like a numpy ufunc of two arguments."""
        a, b = np.maximum(first + self.of_reference, 0), np.maximum(second + self.of_text, 0)
        fused: NDArray[np.floating] = a * b - HARRIS * (a + b) ** 2
        if out is None:
            return fused
        out[...] = fused
        return out


def _find_lowest(queries: Floats, pictures: Floats) -> float:
    """Return the lowest inner product of queries (n, D) and pictures (m, D)."""
    return float((queries @ pictures.T).min(initial=0.0))


def _fill_up(vectors: Floats, length: float, place: int) -> Reals:
    """Return two dimensions (n, 2) that make vectors (n, D) equally long: 0 but for the one at `place`."""
    filled = np.zeros((len(vectors), 2))
    filled[:, place] = np.sqrt(np.maximum(length**2 - (vectors**2).sum(1), 0))
    return filled
