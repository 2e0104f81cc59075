"""What of a shard's texts is kept: their token states, or where these would be too large, the texts themselves."""

import hashlib
import sys
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from compodiff.embeddings.set_arrays import ONLINE, STORED, Arrays
from compodiff.embeddings.text_tower import encode_texts
from compodiff.embeddings.token_arrays import TextTokens, name_array
from compodiff.encoders import Encoder, EncoderManifest
from compodiff.encoders.manifest import ATTENDED, TextPart
from compodiff.params import EmbeddingParams

_CHARACTERS_OF_A_TOKEN = 4  # of English text, about
_MARKS = 2  # tokens that begin and end a text
_BYTES_OF_A_NUMBER = 2


def embed_texts(encoder: Encoder, texts: Sequence[str], params: EmbeddingParams, kept: str) -> Arrays:
    """Embed texts: pooled (t, D), and hashes (t,).

    Where token states are stored: tokens end to end (sum L, D_k) and lengths (t,) for each text part. Else the texts in
    UTF-8 end to end, and how many bytes each has.
    """
    pooled, tokens = encode_texts(encoder, texts, params.batch_size)
    return {
        "texts_pooled": pooled,
        "text_keys": np.array([hash_text(text) for text in texts], np.uint64),
        **(keep_texts(texts) if kept == ONLINE else name_tokens(tokens)),
    }


def name_tokens(texts: TextTokens) -> Arrays:
    """Return the arrays of token states by name."""
    tokens = {name_array("text_tokens", number): own.tokens for number, own in enumerate(texts)}
    return tokens | {name_array("lengths", number): own.lengths for number, own in enumerate(texts)}


def keep_texts(texts: Sequence[str]) -> Arrays:
    """Return the texts in UTF-8 end to end, and how many bytes each has."""
    encoded = [text.encode() for text in texts]
    return {
        "text_bytes": np.frombuffer(b"".join(encoded), np.uint8),
        "lengths": np.array([len(own) for own in encoded], np.int64),
    }


def choose_kept(
    params: EmbeddingParams, encoder: EncoderManifest, texts: Sequence[str], share: float, name: str
) -> str:
    """Return STORED or ONLINE, as params say, or by the size of the token states; and say which.

    Args:
        params: with `texts` and `stored_text_bytes`.
        encoder: of what width its tokens are.
        texts: some of the set's.
        share: of the set's rows that these texts are of.
        name: of the set, for what is said.
    """
    if params.texts != "auto":
        return params.texts
    size = sum(_estimate_bytes(part, texts) for part in encoder.texts) / share
    chosen = STORED if size <= params.stored_text_bytes else ONLINE
    said = {STORED: "are stored", ONLINE: "are computed in training"}[chosen]
    tqdm.write(f"token states of the texts of {name} take about {size / 1e9:.2g} GB and {said}", file=sys.stderr)
    return chosen


def _estimate_bytes(part: TextPart, texts: Sequence[str]) -> float:
    full = len(texts) * part.context_length
    tokens = sum(min(part.context_length, len(text) / _CHARACTERS_OF_A_TOKEN + _MARKS) for text in texts)
    return (full if part.padding == ATTENDED else tokens) * part.token_dim * _BYTES_OF_A_NUMBER


def hash_text(text: str) -> int:
    """Return 64 bits that stand for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
