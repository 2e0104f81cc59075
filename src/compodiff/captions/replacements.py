"""What may replace a term: terms of its form in a band of text similarity, near-synonyms left out.

Above the band lie synonyms, below it what has nothing to do with the term. The band depends on the encoder: the paper's
[0.5, 0.7] is CLIP's.

Shapes: V terms, D embedding width, P terms of the pool.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compodiff.storage.arrays import open_array
from compodiff.storage.atomic import replace_path

if TYPE_CHECKING:
    from compodiff.encoders import Encoder

CHOICES = 32  # kept for a term
POOL = 65_536  # terms of a form that each term is compared with; of more, these are drawn
ROWS = 256  # terms compared at a time: 64 MiB of cosines
TEXTS = 64  # embedded at a time
SHORTEST_STEM = 4
STEM_SHARE = 0.6

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Replacements:
    """The terms, each with its form and up to CHOICES terms that may replace it.

    Attributes:
        forms: term -> form (see `terms`).
        choices: term -> what may replace it; terms without any are not in it.
    """

    forms: Mapping[str, int]
    choices: Mapping[str, Sequence[str]]

    def draw(self, term: str, random: Random) -> str | None:
        """Return a replacement of `term`, or None where there is none."""
        choices = self.choices.get(term)
        return random.choice(choices) if choices else None


def find_replacements(
    forms: Mapping[str, int], embeddings: Vectors, *, low: float, high: float, seed: int
) -> Replacements:
    """Choose replacements for every term.

    Args:
        forms: term -> form, in the order of `embeddings`.
        embeddings: (V, D), any norm.
        low: cosine from which on a term is near enough.
        high: cosine up to which it is no synonym.
        seed: of the pool and of which terms are kept where more than CHOICES would do.
    """
    terms = list(forms)
    form_of = np.fromiter(forms.values(), dtype=np.int64, count=len(forms))
    choices: dict[str, Sequence[str]] = {}
    for form in np.unique(form_of):
        generator = np.random.default_rng([seed, int(form)])
        rows = np.flatnonzero(form_of == form)
        pool = np.sort(generator.choice(rows, POOL, replace=False)) if len(rows) > POOL else rows
        pool_vectors = _normalise(embeddings[pool])
        for first in range(0, len(rows), ROWS):
            chunk = rows[first : first + ROWS]
            cosines = _normalise(embeddings[chunk]) @ pool_vectors.T  # (ROWS, P)
            for row, near in zip(chunk, (low <= cosines) & (cosines <= high), strict=True):
                fitting = pool[near]
                drawn = generator.choice(fitting, min(2 * CHOICES, len(fitting)), replace=False, shuffle=False)
                others = (terms[it] for it in drawn.tolist())
                kept = list(islice((it for it in others if not are_near_synonyms(terms[row], it)), CHOICES))
                if kept:
                    choices[terms[row]] = kept
    return Replacements(forms, choices)


def are_near_synonyms(one: str, other: str) -> bool:
    """Return whether two terms say nearly the same, by their letters: "sail boat" and "boat", "berry", "strawberry"."""
    if (" " in one or " " in other) and not set(one.split()).isdisjoint(other.split()):
        return True
    short, long = (one, other) if len(one) < len(other) else (other, one)
    if len(short) >= SHORTEST_STEM and long.endswith(short):
        return True
    stem = max(SHORTEST_STEM, math.ceil(STEM_SHARE * len(long)))
    return one[:stem] == other[:stem]


def embed_terms(terms: Sequence[str], encoder: "Encoder", cache: Path, progress: Callable[[int], object]) -> Vectors:
    """Embed terms -> (V, D), memory-mapped from `cache`, where the same terms of the same encoder are found again."""
    named = "\n".join((json.dumps(encoder.manifest.identify(), sort_keys=True), *terms))
    path = cache / f"terms-{hashlib.sha256(named.encode()).hexdigest()[:16]}.npy"
    if not path.exists():
        vectors = np.empty((len(terms), encoder.manifest.learned_dim), dtype=np.float32)
        by_length = sorted(range(len(terms)), key=lambda it: (len(terms[it]), it))  # alike in length: less padding
        for first in range(0, len(terms), TEXTS):
            rows = by_length[first : first + TEXTS]
            embedded = encoder.embed_texts([terms[it] for it in rows], "terms are compared by meaning")
            vectors[rows] = embedded[:, : vectors.shape[1]].cpu().numpy()
            progress(len(rows))
        with replace_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, vectors, allow_pickle=False)
    return open_array(path)


def _normalise(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return scaled
