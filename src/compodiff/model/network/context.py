"""What the denoiser attends to: texts, references and masks, each stored once however many rows use it.

Texts are packed without padding, because three quarters of a padded caption is padding. Padding that is part of a text
(the released weights attend to it) is packed like any other token.
Legend: U distinct texts, P packed tokens, R context rows, K context length, D embedding width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from compodiff.errors import InputInvalid
from compodiff.model.network.attention import FIRST_TOKEN, NULL_KEY, ZERO_KEY, Positions, Projected, Unprojected

NULL = -1


@dataclass(frozen=True)
class PackedText:
    """Token states of U texts without padding: tokens (P, D_text), lengths (U,) long with sum P."""

    tokens: Tensor
    lengths: Tensor

    @classmethod
    def pack(cls, tokens: Tensor, mask: Tensor | None = None) -> "PackedText":
        """Drop the padding. tokens: (U, L, D_text); mask: (U, L) bool, True on real tokens; None keeps all."""
        if mask is None:
            return cls(tokens.flatten(0, 1), torch.full((len(tokens),), tokens.shape[1], device=tokens.device))
        return cls(tokens[mask], mask.sum(1))

    def __len__(self) -> int:
        return len(self.lengths)

    def __add__(self, other: "PackedText") -> "PackedText":
        return PackedText(torch.cat((self.tokens, other.tokens)), torch.cat((self.lengths, other.lengths)))

    def require(self, token_dim: int) -> None:
        """Check the shapes.

        Raises:
            InputInvalid: tokens of another width, a text without tokens, or lengths that do not add up.
        """
        if self.tokens.shape[-1] != token_dim:
            raise InputInvalid(f"text tokens are {self.tokens.shape[-1]} wide, the network takes {token_dim}")
        if len(self) == 0 or int(self.lengths.min()) < 1:
            raise InputInvalid("a text has no tokens; encode the empty text with the encoder, which gives at least one")
        if int(self.lengths.sum()) != len(self.tokens):
            raise InputInvalid(f"text lengths add up to {int(self.lengths.sum())}, there are {len(self.tokens)} tokens")


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


def find_key_rows(lengths: Tensor, rows: ContextRows, images: int, image_slots: int) -> tuple[Tensor, Tensor | None]:
    """Return where each context row finds its keys among the projected tokens, and which are padding.

    The tokens stand in the order: all texts, the slots of `images` references, the empty mask, the other masks; they
    follow ZERO_KEY (a null reference) and NULL_KEY (the learned null key).

    Returns:
        (R, K) long row numbers and (R, K) bool, True on padding, or None where there is none.
    """
    device = lengths.device
    text, image, mask = (row.to(device)[:, None] for row in (rows.text, rows.image, rows.mask))
    first_image = FIRST_TOKEN + int(lengths.sum())
    slots = first_image + image * image_slots + torch.arange(image_slots, device=device)
    slots = torch.where(image == NULL, ZERO_KEY, slots)
    masks = first_image + images * image_slots + 1 + mask
    position = torch.arange(int(lengths[rows.text.to(device)].max()), device=device)
    starts = FIRST_TOKEN + lengths.cumsum(0) - lengths
    padding = position >= lengths[text]
    words = torch.where(padding, ZERO_KEY, starts[text] + position)
    index = torch.cat((torch.full_like(text, NULL_KEY), slots, masks, words), 1)
    if not bool(padding.any()):
        return index, None
    return index, torch.nn.functional.pad(padding, (index.shape[1] - padding.shape[1], 0), value=False)
