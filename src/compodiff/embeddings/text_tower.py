"""Token states of texts, as the frozen text tower computes them: when a set is embedded, or when they are asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compodiff.encoders import Encoder, EncoderManifest, load_encoder, require_same
from compodiff.storage.json_files import read_json

Vectors = NDArray[np.float16]


@dataclass(frozen=True)
class TextTower:
    """The text tower of the encoder in `folder`, loaded when it is first used: on the GPU, where there is one."""

    folder: Path

    def require(self, encoder: EncoderManifest, what: str) -> None:
        """Refuse to go on where another encoder, `encoder`, made `what`.

        Raises:
            EncoderMismatch: the two differ.
            InputInvalid: there is no encoder in the folder.
        """
        require_same(EncoderManifest.from_json(read_json(self.folder / "manifest.json")), encoder, what)

    def compute_tokens(self, texts: Sequence[str], batch_size: int) -> tuple[Vectors, NDArray[np.int64]]:
        """Return tokens end to end, (sum L, D_text), and their lengths, (t,).

        Raises:
            EncoderMismatch: the weights are not those of the encoder's manifest.
        """
        _, tokens = encode_texts(self._encoder, texts, batch_size)
        width = self._encoder.manifest.token_dims[0]
        joined = np.concatenate([np.empty((0, width), np.float16), *tokens])
        return joined, np.array([len(own) for own in tokens], np.int64)

    @cached_property
    def _encoder(self) -> Encoder:
        return load_encoder(self.folder).prepare_for_many()


def encode_texts(encoder: Encoder, texts: Sequence[str], batch_size: int) -> tuple[Vectors, list[Vectors]]:
    """Return pooled texts, (t, D), and the tokens of each, (L, D_text), rounded to float16."""
    width, token_dim = encoder.manifest.embedding_dim, encoder.manifest.token_dims[0]
    pooled, tokens = np.empty((len(texts), width), np.float16), [np.empty((0, token_dim), np.float16)] * len(texts)
    order = sorted(range(len(texts)), key=lambda number: (len(texts[number]), texts[number]))  # little padding
    for batch in _cut(order, batch_size):
        encoding = encoder.encode_texts([texts[number] for number in batch])
        pooled[batch] = encoding.require_pooled().half().cpu().numpy()
        states, real = encoding.states[0].tokens.half().cpu().numpy(), encoding.states[0].mask.cpu().numpy()
        for number, own, mask in zip(batch, states, real, strict=True):
            tokens[number] = own[mask]
    return pooled, tokens


def _cut(items: Sequence[int], size: int) -> Iterator[list[int]]:
    return (list(items[start : start + size]) for start in range(0, len(items), size))
