"""What an answer says of classes: the last dimensions of embeddings, by encoders that have them (named_classes.py).

The network neither sees nor makes them. An answer has those of its reference; but where the reference, and the gallery
it is asked about, are unlike all that was learned, which the length of class dimensions tells, what the network makes
of it is worth little, and an answer has those of the text, as far as the text names a class. Without a reference they
are the text's.
Legend: B queries, S draws, N pictures of a gallery, D learned dimensions, K dimensions for classes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compodiff.params import ClassSamplingParams

_MEASURED = 1000  # pictures of a gallery


@dataclass(frozen=True)
class ClassConditions:
    """The class dimensions of B queries.

    Attributes:
        reference: of their references, (B, K) or None.
        text: of their texts, (B, K) or None.
        gallery: mean length of those of the pictures that they are asked about; None where that is not known.
    """

    reference: Tensor | None
    text: Tensor | None
    gallery: float | None = None

    @classmethod
    def split(
        cls, images: Tensor | None, texts: Tensor | None, learned_dim: int, gallery: float | None = None
    ) -> "tuple[Tensor | None, ClassConditions | None]":
        """Return what the network sees of reference embeddings, (B, D), and the class dimensions, if there are any.

        Args:
            images: (B, D + K) reference embeddings.
            texts: (B, D + K) embeddings of texts among pictures; None also where no text part makes them.
            learned_dim: D.
            gallery: see `measure_gallery`.
        """
        given = [vectors for vectors in (images, texts) if vectors is not None]
        if not given or given[0].shape[1] == learned_dim:
            return images, None
        learned, reference = (None, None) if images is None else (images[:, :learned_dim], images[:, learned_dim:])
        # A text's class dimensions are told by the length of its others.
        text = None if texts is None else texts[:, learned_dim:] / texts[:, :learned_dim].norm(dim=1, keepdim=True)
        return learned, cls(reference, text, gallery)

    def complete(self, answers: Tensor, dials: ClassSamplingParams | None) -> Tensor:
        """Let answers end with class dimensions, (B, S, D) -> (B, S, D + K)."""
        if self.reference is None and self.text is not None:
            return _append(answers, self.text)
        if self.reference is None or self.text is None or dials is None:
            return _append(answers, self.reference)
        is_named = (self.text.norm(dim=1, keepdim=True) / dials.named).clamp(max=1)  # (B, 1)
        share = torch.sigmoid(self._measure_excess(self.reference, dials) / dials.blur) * is_named
        faded = answers * (1 - (1 - dials.kept) * share)[:, None]
        return _append(faded, torch.lerp(self.reference, self.text, share))

    def find_unlike(self, dials: ClassSamplingParams) -> Tensor | None:
        """Return which references, with their gallery, are unlike all that was learned, (B,); None without any."""
        return None if self.reference is None else self._measure_excess(self.reference, dials)[:, 0] > 0

    def _measure_excess(self, reference: Tensor, dials: ClassSamplingParams) -> Tensor:
        """Return by how much class dimensions of references (B, K), and of the gallery, are too long: (B, 1)."""
        length: Tensor = reference.norm(dim=1, keepdim=True)
        return (length if self.gallery is None else (length + self.gallery) / 2) - dials.unlike


def measure_gallery(pictures: NDArray[np.float32], learned_dim: int) -> float | None:
    """Return the mean length of the class dimensions of some pictures, (N, D + K); None where there are none."""
    classes = np.asarray(pictures[:: max(1, len(pictures) // _MEASURED), learned_dim:], np.float32)
    return float(np.linalg.norm(classes, axis=1).mean()) if classes.size else None


def _append(answers: Tensor, classes: Tensor | None) -> Tensor:
    """Append class dimensions (B, K) to each draw of answers (B, S, D)."""
    if classes is None:
        return answers
    return torch.cat([answers, classes.to(answers)[:, None].expand(-1, answers.shape[1], -1)], dim=2)
