"""Texts moved to where pictures are: an encoder's texts and pictures lie in two cones of one space, with a gap between.

Shapes: n texts, m pictures, D dimensions that a model learns: all of an embedding but those of classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from compodiff.embeddings.lengths import shorten_rows
from compodiff.params import AdaptationParams

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Gap:
    """What lies between texts and pictures.

    Attributes:
        texts: (D,) mean of texts, each of length 1.
        pictures: (D,) mean of pictures, each of length 1; that of the texts where nothing is moved.
        length: mean length of pictures as the encoder makes them.
        radius: mean distance of texts from their mean.
    """

    texts: Floats
    pictures: Floats
    length: float
    radius: float

    @classmethod
    def measure(cls, texts: Floats, pictures: Floats, *, moved: bool) -> "Gap":
        """Measure the gap between texts (n, D) and pictures (m, D), both as the encoder makes them; m may be 0."""
        own = shorten_rows(texts)
        mean = own.mean(axis=0)
        there = shorten_rows(pictures).mean(axis=0) if moved and len(pictures) else mean
        length = np.linalg.norm(pictures if len(pictures) else texts, axis=1).mean()
        return cls(mean, there, float(length), float(np.linalg.norm(own - mean, axis=1).mean()))

    def move(self, texts: Floats) -> Floats:
        """Return texts (n, D) where pictures of the same would be."""
        moved: Floats = np.float32(self.length) * (self.pictures + shorten_rows(texts) - self.texts)
        return moved

    def place_targets(self, texts: Floats, params: AdaptationParams) -> Floats:
        """Return texts (n, D) as what is to be found: where they are, at the length of pictures, or moved."""
        return np.float32(self.length) * shorten_rows(texts) if params.target == "text" else self.move(texts)

    def draw_noise(self, count: int, size: float, rng: Generator) -> Floats:
        """Draw noise (count, D), each row of about `size` mean distances of texts from their mean."""
        width = len(self.texts)
        drawn = rng.standard_normal((count, width), dtype=np.float32)
        scaled: Floats = np.float32(self.length * self.radius * size / np.sqrt(width)) * drawn
        return scaled

    def describe(self) -> dict[str, Any]:
        """Return as JSON types how wide the gap is."""
        return {
            "distance": float(np.linalg.norm(self.pictures - self.texts)),
            "radius_of_texts": self.radius,
            "length_of_pictures": self.length,
        }


def make_ends(
    gap: Gap, reference: Floats, target: Floats, params: AdaptationParams, rng: Generator
) -> tuple[Floats, Floats]:
    """Return references and targets (n, D) for texts (n, D); references are moved and blurred by noise."""
    noise = gap.draw_noise(len(reference), params.noise, rng)
    return gap.move(reference) + noise, gap.place_targets(target, params)


def widen(learned: Floats, width: int) -> Floats:
    """Return learned dimensions (n, D) as embeddings (n, width), which say nothing of classes."""
    return np.pad(learned, ((0, 0), (0, width - learned.shape[1])))
