"""What an answer says of classes: the last dimensions of embeddings, by encoders that have them (named_classes.py).

The network neither sees nor makes them. An answer has those of its reference; but where the reference, and the gallery
it is asked about, are unlike all that was learned, which the length of class dimensions tells, what the network makes
of it is worth little, and an answer is what the text asks for, as far as the text names a class: "replace the cat with
a dog" a dog's embedding, "add a hat" the reference's classes and those of a hat, "without the hat" the reference's
turned away from hats. Without a reference class dimensions are the text's.
Legend: B queries, S draws, N pictures of a gallery, D learned dimensions, K dimensions for classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from compodiff.params import ClassSamplingParams

if TYPE_CHECKING:
    from compodiff.language.wishes import Wish

_MEASURED = 1000  # pictures of a gallery
_CHANGED = 3.0  # lengths of a reference by which it is moved towards words, which lie farther away than pictures do


@dataclass(frozen=True)
class TextWishes:
    """What the texts of B queries ask for, read off their wording (language/wishes.py).

    Attributes:
        there: what is to be seen, as `scale_texts` makes it, (B, D + K); zeros where nothing is said of it.
        gone: what is no longer to be seen, (B, D + K).
        keeps: whether the rest of the reference stays, (B,) bool.
    """

    there: Tensor
    gone: Tensor
    keeps: Tensor

    @classmethod
    def as_said(cls, texts: Tensor) -> "TextWishes":
        """Return what texts (B, D + K) ask for that are to be seen as a whole."""
        return cls(texts, torch.zeros_like(texts), torch.zeros(len(texts), dtype=torch.bool, device=texts.device))

    @classmethod
    def embed(
        cls, wishes: "Sequence[Wish]", embed: Callable[[Sequence[str]], Tensor], learned_dim: int
    ) -> "TextWishes":
        """Return what B relative captions ask for.

        Args:
            wishes: that were read off their wording.
            embed: returns the embeddings (n, D + K), among pictures, of n texts, those of `list_wished`.
            learned_dim: D.
        """
        named = [text for wish in wishes for text in (wish.there, wish.gone)]
        embedded = embed(named)  # (2 B, D + K)
        said = torch.tensor([[bool(text)] for text in named], device=embedded.device)
        scaled = scale_texts(embedded, learned_dim) * said
        return cls(scaled[::2], scaled[1::2], torch.tensor([wish.keeps for wish in wishes], device=embedded.device))


@dataclass(frozen=True)
class ClassConditions:
    """The class dimensions of B queries.

    Attributes:
        reference: of their references, (B, K) or None.
        text: their texts, as `scale_texts` makes them, (B, D + K) or None.
        gallery: mean length of those of the pictures that they are asked about; None where that is not known.
        wishes: what the texts ask for; None: what they say.
    """

    reference: Tensor | None
    text: Tensor | None
    gallery: float | None = None
    wishes: TextWishes | None = None

    @classmethod
    def split(
        cls,
        images: Tensor | None,
        texts: Tensor | None,
        learned_dim: int,
        gallery: float | None = None,
        wishes: TextWishes | None = None,
    ) -> "tuple[Tensor | None, ClassConditions | None]":
        """Return what the network sees of reference embeddings, (B, D), and the class dimensions, if there are any.

        Args:
            images: (B, D + K) reference embeddings.
            texts: (B, D + K) embeddings of texts among pictures; None also where no text part makes them.
            learned_dim: D.
            gallery: see `measure_gallery`.
            wishes: what the texts ask for, where that was read.
        """
        given = [vectors for vectors in (images, texts) if vectors is not None]
        if not given or given[0].shape[1] == learned_dim:
            return images, None
        learned, reference = (None, None) if images is None else (images[:, :learned_dim], images[:, learned_dim:])
        text = None if texts is None else scale_texts(texts, learned_dim)
        return learned, cls(reference, text, gallery, wishes)

    def complete(self, answers: Tensor, dials: ClassSamplingParams | None) -> Tensor:
        """Let answers end with class dimensions, (B, S, D) -> (B, S, D + K)."""
        learned_dim = answers.shape[2]
        classes = self.text[:, learned_dim:] if self.text is not None and self.reference is None else self.reference
        lengths = self._measure_pictures()
        if self.text is None or classes is None or lengths is None or dials is None:
            return _append(answers, classes)
        wishes = self.wishes or TextWishes.as_said(self.text)
        asked = wishes.there[:, learned_dim:]
        # "with inverted colours" names nothing, whatever "inverted colours" are near to.
        naming = torch.where(wishes.keeps[:, None], self.text[:, learned_dim:], asked)
        is_named = (naming.norm(dim=1, keepdim=True) / dials.named).clamp(max=1)
        share = torch.sigmoid((lengths - dials.unlike) / dials.blur) * is_named  # (B, 1)
        fading = share
        if self.reference is not None:
            keeps = wishes.keeps[:, None]
            asked = torch.where(keeps, _keep(self.reference, asked, wishes.gone[:, learned_dim:]), asked)
            fading = share * ~keeps  # what is composed of a reference that stays is nearly that reference
        said = wishes.there[:, :learned_dim]
        composed = answers * (1 - (1 - dials.kept) * fading)[:, None] + (fading * said).to(answers)[:, None]
        return _append(composed, torch.lerp(classes, asked, share))

    def find_unlike(self, dials: ClassSamplingParams) -> Tensor | None:
        """Return which references, with their gallery, are unlike all that was learned, (B,); None without any."""
        lengths = self._measure_pictures()
        return None if self.reference is None or lengths is None else (lengths > dials.unlike)[:, 0]

    def _measure_pictures(self) -> Tensor | None:
        """Return how long class dimensions are, (B, 1): the mean of reference and gallery, or of what there is."""
        own: Tensor | None = None
        if self.reference is not None:
            own = torch.linalg.vector_norm(self.reference, dim=1, keepdim=True)
        if own is not None and self.gallery is not None:
            own = (own + self.gallery) / 2
        elif self.gallery is not None and self.text is not None:
            own = torch.full((len(self.text), 1), self.gallery).to(self.text)
        return own


def _keep(reference: Tensor, there: Tensor, gone: Tensor) -> Tensor:
    """Return the class dimensions of references that stay, (B, K): with what is to be there, without what is to go."""
    wanted = functional.normalize(there, dim=1) - functional.normalize(gone, dim=1)
    length: Tensor = torch.linalg.vector_norm(reference, dim=1, keepdim=True)  # (B, 1)
    changed: Tensor = reference + _CHANGED * length * wanted
    return changed


def scale_texts(texts: Tensor, learned_dim: int) -> Tensor:
    """Return texts (B, D + K) whose learned dimensions have length one: that tells their class dimensions."""
    scaled: Tensor = texts / torch.linalg.vector_norm(texts[:, :learned_dim], dim=1, keepdim=True)
    return scaled


def measure_gallery(pictures: NDArray[np.float32], learned_dim: int) -> float | None:
    """Return the mean length of the class dimensions of some pictures, (N, D + K); None where there are none."""
    classes = np.asarray(pictures[:: max(1, len(pictures) // _MEASURED), learned_dim:], np.float32)
    return float(np.linalg.norm(classes, axis=1).mean()) if classes.size else None


def _append(answers: Tensor, classes: Tensor | None) -> Tensor:
    """Append class dimensions (B, K) to each draw of answers (B, S, D)."""
    if classes is None:
        return answers
    return torch.cat([answers, classes.to(answers)[:, None].expand(-1, answers.shape[1], -1)], dim=2)
