"""Token states of texts, as frozen text parts compute them: when a set is embedded, or when they are asked for.

Shapes: t texts, L tokens of a text, D embedding width, D_k width of a text part's tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compodiff.embeddings.token_arrays import TextTokens, TokenArrays
from compodiff.encoders import Encoder, EncoderManifest, load_encoder, require_same
from compodiff.storage.json_files import read_json

Vectors = NDArray[np.float16]


@dataclass(frozen=True)
class TextTower:
    """The text parts of the encoder in `folder`, loaded when they are first used: on the GPU, where there is one."""

    folder: Path

    def require(self, encoder: EncoderManifest, what: str) -> None:
        """Refuse to go on where another encoder, `encoder`, made `what`.

        Raises:
            EncoderMismatch: the two differ.
            InputInvalid: there is no encoder in the folder.
        """
        require_same(EncoderManifest.from_json(read_json(self.folder / "manifest.json")), encoder, what)

    def compute_tokens(self, texts: Sequence[str], batch_size: int) -> TextTokens:
        """Return the tokens of texts.

        Raises:
            EncoderMismatch: the weights are not those of the encoder's manifest.
        """
        return encode_texts(self._encoder, texts, batch_size)[1]

    @cached_property
    def _encoder(self) -> Encoder:
        return load_encoder(self.folder).prepare_for_many()


def encode_texts(encoder: Encoder, texts: Sequence[str], batch_size: int) -> tuple[Vectors, TextTokens]:
    """Return pooled texts and the tokens of each, rounded to float16.

    Pooled: (t, D), or (t, 0) where the encoder has no joint text embedding.
    """
    width = 0 if encoder.manifest.joint is None else encoder.manifest.embedding_dim
    pooled = np.empty((len(texts), width), np.float16)
    tokens = [[np.empty((0, width), np.float16)] * len(texts) for width in encoder.manifest.token_dims]
    order = sorted(range(len(texts)), key=lambda number: (len(texts[number]), texts[number]))  # little padding
    for batch in _cut(order, batch_size):
        encoding = encoder.encode_texts([texts[number] for number in batch])
        if encoding.pooled is not None:
            pooled[batch] = encoding.pooled.half().cpu().numpy()
        for of_part, part in zip(tokens, encoding.states, strict=True):
            states, attended = part.tokens.half().cpu().numpy(), part.mask.cpu().numpy()
            for number, own, mask in zip(batch, states, attended, strict=True):
                of_part[number] = own[mask]
    return pooled, tuple(map(_lay_end_to_end, tokens, encoder.manifest.token_dims))


def _lay_end_to_end(of_part: Sequence[Vectors], token_dim: int) -> TokenArrays:
    tokens = np.concatenate([np.empty((0, token_dim), np.float16), *of_part])
    return TokenArrays(tokens, np.array([len(own) for own in of_part], np.int64))


def _cut(items: Sequence[int], size: int) -> Iterator[list[int]]:
    return (list(items[start : start + size]) for start in range(0, len(items), size))
