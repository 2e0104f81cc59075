"""Whether an answer to words alone is a guess: its nearest picture is no nearer than to words that mean nothing.

How near such words come depends on the model and the index, so both are asked once, and the answer is kept.
"""

import json
import random
from functools import cached_property

import numpy as np

from compodiff.index.index import Index
from compodiff.model.fusion import fuse_draws
from compodiff.search.composer import Composer
from compodiff.search.progress import PhaseTimer
from compodiff.search.query import Query
from compodiff.storage.digests import digest_bytes, digest_once
from compodiff.storage.kept import keep, read_kept

_KIND, _LEAST = "guesses", "least_cosine"
_TEXTS = 24
_QUANTILE = 0.8  # a picture is near if it is nearer than what this share of meaningless texts find


class GuessLimit:
    """How near a picture must be to what words ask for; below, it is a guess."""

    def __init__(self, composer: Composer, index: Index, gallery: float | None) -> None:
        """Take a model and an index; `gallery`, see `measure_gallery`, as answers are composed for it."""
        self._composer, self._index, self._gallery = composer, index, gallery

    @cached_property
    def least_cosine(self) -> float:
        """The cosine; measured when it is first asked for, and kept."""
        key = self._make_key()
        known = read_kept(_KIND, key) if key else None
        if known is not None and isinstance(known.get(_LEAST), float):
            return float(known[_LEAST])
        least = self._measure()
        if key:
            keep(_KIND, key, {_LEAST: least})
        return least

    def _measure(self) -> float:
        queries = [self._composer.prepare(Query(None, text, k=1)) for text in make_meaningless_texts(_TEXTS)]
        compositions = self._composer.compose_all(queries, PhaseTimer(), self._gallery)
        fusion = self._composer.sampling.fusion
        vectors = [fuse_draws(each.draws, fusion).cpu().numpy() for each in compositions]  # S times D each
        best = [float(self._index.search(each, 1)[1].max()) for each in vectors]
        return round(float(np.quantile(best, _QUANTILE)), 4)

    def _make_key(self) -> str:
        """Return what names the model as it is asked and the index; "" where the model came from no folder.

        The index is named by its manifest as it was read: another index may have taken its place meanwhile.
        """
        composer = self._composer
        if composer.weights is None:
            return ""
        index = self._index.manifest.to_json()
        asked = [composer.sampling.model_dump(), index, digest_once(composer.weights), self._gallery]
        return digest_bytes(json.dumps(asked, sort_keys=True).encode())


def make_meaningless_texts(count: int) -> list[str]:
    """Make texts of one to three words that no language has, the same every time."""
    draw = random.Random(17)
    syllables = [consonant + vowel for consonant in "bcdfghklmnprstvz" for vowel in "aeiou"]
    return [
        " ".join("".join(draw.choices(syllables, k=draw.randint(2, 4))) for _ in range(draw.randint(1, 3)))
        for _ in range(count)
    ]
