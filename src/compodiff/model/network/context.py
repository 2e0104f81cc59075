"""What the denoiser attends to: texts, references and masks, each stored once however many rows use it.

Texts are packed without padding, because three quarters of a padded caption is padding. Padding that is part of a text
(the released weights attend to it) is packed like any other token. A text has token states of each text part of the
encoder (CLIP's, T5's), and a row attends to all of them, one part's after the other's.
Legend: U distinct texts, P packed tokens, R context rows, K context length, D embedding width, D_k width of the tokens
of the k-th text part.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compodiff.errors import InputInvalid
from compodiff.model.network.attention import FIRST_TOKEN, NULL_KEY, ZERO_KEY, Positions, Projected, Unprojected

NULL = -1


class PackedStates(NamedTuple):
    """Token states of U texts, of one text part and without padding: tokens (P, D_k), lengths (U,) long with sum P."""

    tokens: Tensor
    lengths: Tensor

    @classmethod
    def pack(cls, tokens: Tensor, mask: Tensor | None = None) -> "PackedStates":
        """Drop the padding. tokens: (U, L, D_k); mask: (U, L) bool, True on what is attended to; None keeps all."""
        if mask is None:
            return cls(tokens.flatten(0, 1), torch.full((len(tokens),), tokens.shape[1], device=tokens.device))
        return cls(tokens[mask], mask.sum(1))

    def require(self, token_dim: int) -> None:
        """Check the shapes.

        Raises:
            InputInvalid: tokens of another width, a text without tokens, or lengths that do not add up.
        """
        if self.tokens.shape[-1] != token_dim:
            raise InputInvalid(f"text tokens are {self.tokens.shape[-1]} wide, the network takes {token_dim}")
        if len(self.lengths) == 0 or int(self.lengths.min()) < 1:
            raise InputInvalid("a text has no tokens; encode the empty text with the encoder, which gives at least one")
        if int(self.lengths.sum()) != len(self.tokens):
            raise InputInvalid(f"text lengths add up to {int(self.lengths.sum())}, there are {len(self.tokens)} tokens")


@dataclass(frozen=True)
class PackedText:
    """Token states of U texts: `parts` holds those of each text part of the encoder, in its manifest's order."""

    parts: tuple[PackedStates, ...]

    @classmethod
    def of(cls, *parts: tuple[Tensor, Tensor]) -> "PackedText":
        """Return the texts of (tokens, lengths), one pair for each text part."""
        return cls(tuple(PackedStates(*part) for part in parts))

    @classmethod
    def of_arrays(cls, parts: Iterable[tuple[NDArray[np.float16], NDArray[np.int64]]]) -> "PackedText":
        """Return the texts of stored tokens (P, D_k), in float16 as they are stored, and lengths (U,)."""
        return cls.of(*((torch.as_tensor(tokens), torch.as_tensor(lengths)) for tokens, lengths in parts))

    @classmethod
    def pack(cls, *padded: Tensor) -> "PackedText":
        """Return texts of which every token is attended to. padded: (U, L, D_k) of each text part."""
        return cls(tuple(PackedStates.pack(tokens) for tokens in padded))

    def __len__(self) -> int:
        return len(self.parts[0].lengths)

    def __add__(self, other: "PackedText") -> "PackedText":
        both = zip(self.parts, other.parts, strict=True)
        return PackedText(tuple(PackedStates(*map(torch.cat, zip(mine, theirs, strict=True))) for mine, theirs in both))

    def convert(self, change: Callable[[Tensor], Tensor]) -> "PackedText":
        """Return the texts with the tokens of every part changed; lengths stay, the CPU reads them."""
        return PackedText(tuple(PackedStates(change(part.tokens), part.lengths) for part in self.parts))

    def place(self, device: torch.device) -> "PackedText":
        """Return the texts on `device`, tokens in float32."""
        return PackedText.of(*((part.tokens.float().to(device), part.lengths.to(device)) for part in self.parts))

    def require(self, token_dims: Sequence[int]) -> None:
        """Check that the parts are those that a network takes.

        Raises:
            InputInvalid: another number of text parts, or of texts in one of them, or see `PackedStates.require`.
        """
        if len(self.parts) != len(token_dims):
            raise InputInvalid(
                f"texts have token states of {len(self.parts)} text parts, the network takes {len(token_dims)}; "
                "encode them with the encoder that it was trained with"
            )
        for part, token_dim in zip(self.parts, token_dims, strict=True):
            part.require(token_dim)
            if len(part.lengths) != len(self):
                raise InputInvalid(f"one text part holds {len(self)} texts, another {len(part.lengths)}")


@dataclass(frozen=True)
class ContextRows:
    """Which text, reference and mask each context row uses: (R,) long each; NULL is no reference, or nothing masked."""

    text: Tensor
    image: Tensor
    mask: Tensor

    @classmethod
    def number_each(cls, texts: int, *, images: bool, masks: bool) -> "ContextRows":
        """Return the row i uses text i, and reference and mask i where there are any."""
        each, none = torch.arange(texts), torch.full((texts,), NULL)
        return cls(each, each if images else none, each if masks else none)


@dataclass(frozen=True)
class Context:
    """All that a network call needs to know besides x_t and the timestep, for R rows; layers: one entry a block.

    reference: (R, D) standardised embeddings, zero where there is none. positions: the same for all rows.
    """

    layers: tuple[Projected | Unprojected, ...]
    reference: Tensor
    positions: Positions


def find_key_rows(
    lengths: Sequence[Tensor], rows: ContextRows, images: int, image_slots: int
) -> tuple[Tensor, Tensor | None]:
    """Return where each context row finds its keys among the projected tokens, and which are padding.

    The tokens stand in the order: all texts of the first text part, of the next one ..., the slots of `images`
    references, the empty mask, the other masks; they follow ZERO_KEY (a null reference) and NULL_KEY (the learned null
    key).

    Args:
        lengths: (U,) of the texts, for each text part.
        rows: which text, reference and mask each of the R rows uses.
        images: how many references there are.
        image_slots: tokens of a reference.

    Returns:
        (R, K) long row numbers and (R, K) bool, True on padding, or None where there is none.
    """
    device = lengths[0].device
    text, image, mask = (row.to(device)[:, None] for row in (rows.text, rows.image, rows.mask))
    first_image = FIRST_TOKEN + sum(int(own.sum()) for own in lengths)
    slots = first_image + image * image_slots + torch.arange(image_slots, device=device)
    slots = torch.where(image == NULL, ZERO_KEY, slots)
    masks = first_image + images * image_slots + 1 + mask
    total = torch.stack(tuple(lengths)).sum(0)[text]  # (R, 1)
    position = torch.arange(int(total.max()), device=device)
    words = torch.full((len(text), len(position)), ZERO_KEY, device=device)
    first, behind = FIRST_TOKEN, torch.zeros_like(total)  # a part's first token; (R, 1) words of the parts before it
    for own in lengths:
        starts = first + own.cumsum(0) - own
        place = position - behind
        words = torch.where((place >= 0) & (place < own[text]), starts[text] + place, words)
        first, behind = first + int(own.sum()), behind + own[text]
    padding = position >= total
    index = torch.cat((torch.full_like(text, NULL_KEY), slots, masks, words), 1)
    if not bool(padding.any()):
        return index, None
    return index, torch.nn.functional.pad(padding, (index.shape[1] - padding.shape[1], 0), value=False)
