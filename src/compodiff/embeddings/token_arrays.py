"""Token states of texts as arrays: of each text part of an encoder the tokens end to end, and where each text's begin.

The arrays of the first text part have the names that they had when there was no other; see `name_array`.
Shapes: T texts that are kept, B texts that are read, L tokens of a text, D_k width of a text part's tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class TokenArrays(NamedTuple):
    """Texts as one text part sees them. tokens: (sum L, D_k) float16, end to end; lengths: (B,) tokens of each text."""

    tokens: NDArray[np.float16]
    lengths: NDArray[np.int64]


TextTokens = tuple[TokenArrays, ...]  # one for each text part, in the order of the encoder's manifest


class TokenTable(NamedTuple):
    """All texts as one text part sees them. tokens: (sum L, D_k) float16; offsets: (T + 1,) where each text's begin."""

    tokens: NDArray[np.float16]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, arrays: TokenArrays) -> "TokenTable":
        """Return the table of texts that were read."""
        return cls(arrays.tokens, find_offsets(arrays.lengths))

    def take(self, rows: ArrayLike) -> TokenArrays:
        """Return the tokens of some texts. rows: (B,)."""
        chosen = np.asarray(rows, dtype=np.int64)
        starts = self.offsets[chosen]
        lengths = self.offsets[chosen + 1] - starts
        begins = np.cumsum(lengths) - lengths
        places = np.repeat(starts - begins, lengths) + np.arange(lengths.sum())
        return TokenArrays(self.tokens[places], lengths)


def find_offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each text begins, and where the last one ends. lengths: (T,) -> (T + 1,)."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def name_array(name: str, part: int) -> str:
    """Return the name of an array of the text part with this number: `name` itself for 0, name_2 for 1."""
    return name if part == 0 else f"{name}_{part + 1}"


def join_tokens(several: Sequence[TextTokens]) -> TextTokens:
    """Return texts one after the other; each of `several` has the same text parts."""
    return tuple(
        TokenArrays(np.concatenate([own.tokens for own in of_part]), np.concatenate([own.lengths for own in of_part]))
        for of_part in zip(*several, strict=True)
    )
