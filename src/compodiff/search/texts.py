"""Texts encoded once: the empty text is part of every query, and people change the dials more often than the words.

Shapes: L tokens of a text, D embedding width, D_k width of a text part's tokens.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from cachetools import LRUCache
from torch import Tensor

from compodiff.encoders import Encoder
from compodiff.model.network.context import PackedText

_KEPT = 512  # texts; of 32 tokens and 384 numbers each, 25 MB


@dataclass(frozen=True)
class EncodedText:
    """One text: of each text part the tokens (L, D_k) that are attended to, and its embedding (D,) where it has one."""

    tokens: tuple[Tensor, ...]
    pooled: Tensor | None


class TextCache:
    """The encodings of the texts that were asked for last; safe to use from many threads."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._kept: LRUCache[str, EncodedText] = LRUCache(_KEPT)
        # The encoder's tokenizer cannot be used by two threads at once.
        self._alone = threading.Lock()

    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """Encode as one batch those of `texts` that are not kept."""
        with self._alone:
            wanted = list(dict.fromkeys(texts))
            known = {text: self._kept[text] for text in wanted if text in self._kept}
            missing = [text for text in wanted if text not in known]
            if missing:
                encoding = self._encoder.encode_texts(missing)
                for row, text in enumerate(missing):
                    tokens = tuple(part.tokens[row][part.mask[row]] for part in encoding.states)
                    known[text] = EncodedText(tokens, None if encoding.pooled is None else encoding.pooled[row])
            self._kept.update(known)
            return [known[text] for text in texts]


def pack_texts(texts: Sequence[EncodedText]) -> PackedText:
    """Return the token states of `texts`, as the denoiser takes them."""
    by_part = zip(*(text.tokens for text in texts), strict=True)
    return PackedText.of(
        *((torch.cat(own), torch.tensor([len(tokens) for tokens in own], device=own[0].device)) for own in by_part)
    )
