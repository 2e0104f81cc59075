"""Embeddings of captions in the place of pictures: a target in the text's space, or a training without any picture.

Texts and pictures of a joint space lie apart (arXiv 2203.02053). A caption's embedding is therefore moved to where the
pictures are, by the means of both, and stretched to their spread: what is learned on captions is asked with pictures.
Legend: n images, D dimensions that a model learns.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from compodiff.training.examples import NOTHING, TARGET, TEXT, SetExamples

_SAMPLED = 4096  # pairs of a set at most, for means and spreads


@dataclass(frozen=True)
class CaptionStandIns:
    """Captions for the pictures of one set; a picture that has none, as a masked one, stands for itself."""

    examples: SetExamples

    def read(self, images: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return an embedding for each image, (n, D) float32. images: (n,).

        Raises:
            InputInvalid: no text part of the encoder shares the pictures' space.
        """
        embeddings = self.examples.embeddings
        embeddings.encoder.require_joint_text("a caption stands for its picture by its own embedding")
        caption = self._captions[images]
        has, read = caption != NOTHING, np.empty((len(images), embeddings.encoder.learned_dim), np.float32)
        read[~has] = embeddings.read_images(images[~has])
        if has.any():
            of_texts, of_pictures, stretch = self._move
            read[has] = of_pictures + stretch * (self._read_texts(caption[has]) - of_texts)
        return read

    @cached_property
    def _captions(self) -> NDArray[np.int64]:
        """(N,) the first caption of each image, NOTHING where it has none."""
        pairs = self.examples.open_table("text_to_image")
        found = np.full(len(self.examples.embeddings.images), NOTHING)
        found[pairs[::-1, TARGET]] = pairs[::-1, TEXT]
        return found

    @cached_property
    def _move(self) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """Mean of captions (D,), mean of pictures (D,), and spread of the pictures over the captions'."""
        pairs = self.examples.open_table("text_to_image")
        some = np.array(pairs[:: max(1, len(pairs) // _SAMPLED)])
        texts = self._read_texts(np.sort(some[:, TEXT]))
        pictures = self.examples.embeddings.read_images(some[:, TARGET])
        return texts.mean(0), pictures.mean(0), float(pictures.std(0).mean() / texts.std(0).mean())

    def _read_texts(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read what a model learns of texts, (n, D). rows: (n,)."""
        embeddings = self.examples.embeddings
        return np.asarray(embeddings.texts_pooled[rows, : embeddings.encoder.learned_dim], np.float32)
