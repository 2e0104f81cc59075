"""The five filters of the paper's section on SynthTriplets18M: cosines between what an encoder says of a triplet.

Shapes: B triplets, D embedding width. Embeddings are raw; a cosine needs no norm. A change that is no change (equal
captions, equal pictures) has no direction, and its cosine is 0.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compodiff.params import SimilarityFloors

Vectors = NDArray[np.float32]
Scores = NDArray[np.float32]

# Scores are stored and judged to this many decimals: the bits behind depend on batches and threads, and the same
# triplets shall give the same bytes.
DECIMALS = 4


@dataclass(frozen=True)
class EmbeddedPairs:
    """Embeddings of B triplets' pictures and texts, each (B, D).

    `asked` is the term that came in; where a language model wrote the pair and no term is known, the relative caption.
    """

    reference: Vectors
    target: Vectors
    reference_caption: Vectors
    target_caption: Vectors
    asked: Vectors


def compare_images(reference: Vectors, target: Vectors) -> Scores:
    """Return how much of the reference is still there, (B, D) twice -> (B,)."""
    return _compute_cosine(reference, target)


def compare_with_caption(image: Vectors, caption: Vectors) -> Scores:
    """Return how well a picture shows its own caption, (B, D) twice -> (B,)."""
    return _compute_cosine(image, caption)


def compare_directions(
    reference: Vectors, target: Vectors, reference_caption: Vectors, target_caption: Vectors
) -> Scores:
    """Return whether the picture changed the way the caption did, (B, D) four times -> (B,)."""
    return _compute_cosine(target - reference, target_caption - reference_caption)


def compare_with_keyword(asked: Vectors, target: Vectors) -> Scores:
    """Return whether the target shows the term that came in, (B, D) twice -> (B,).

    Where a language model wrote the pair and no term is known, `asked` is the relative caption: the paper's similarity
    of instruction and target, which has the same floor.
    """
    return _compute_cosine(asked, target)


def score(embedded: EmbeddedPairs) -> pd.DataFrame:
    """Score B triplets: a float32 column per filter, named as in `SimilarityFloors`; NaN where a text is missing.

    A missing text is a row of NaN in its embeddings.
    """
    it = embedded
    scores = {
        "image_image": compare_images(it.reference, it.target),
        "image_caption_reference": compare_with_caption(it.reference, it.reference_caption),
        "image_caption_target": compare_with_caption(it.target, it.target_caption),
        "directional": compare_directions(it.reference, it.target, it.reference_caption, it.target_caption),
        "keyword_image": compare_with_keyword(it.asked, it.target),
    }
    return pd.DataFrame({name: np.round(values, DECIMALS) for name, values in scores.items()})


def judge(scores: pd.DataFrame, floors: SimilarityFloors | None) -> pd.Series:
    """Return by which filters each row fails, comma-separated, "" for none; a score that is missing fails nothing."""
    names = np.full(len(scores), "", dtype=object)
    for name, floor in floors.model_dump().items() if floors else ():
        values = scores[name].to_numpy(np.float32)
        for row in np.flatnonzero(values < np.float32(floor)):
            names[row] = f"{names[row]},{name}" if names[row] else name
    return pd.Series(names, scores.index, dtype="str")


def _compute_cosine(a: Vectors, b: Vectors) -> Scores:
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    products: Scores = (a * b).sum(axis=-1)
    cosines: Scores = np.divide(products, norms, out=np.zeros_like(products), where=norms != 0)
    return cosines
