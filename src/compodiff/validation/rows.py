"""Rows of a set as the suite looks at them: texts, similarities, and what the pass over the pictures found.

Nothing is decoded here: pixels were digested, and pictures that cannot be read were noted, when they were embedded.
Texts stay columns of Arrow, behind pandas: a million rows never become Python objects.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compodiff.embeddings.set_arrays import (
    ASKED,
    NOTHING,
    READ,
    REFERENCE,
    REFERENCE_CAPTION,
    SCORED_TARGET,
    TARGET_CAPTION,
    SetEmbeddings,
)
from compodiff.errors import InputInvalid
from compodiff.pairs.similarity import EmbeddedPairs, score
from compodiff.sets import SPLITS, TrainingSet
from compodiff.sets.texts import read_texts

_DIGEST_DIGITS = 16  # of the first 64 bits, in base 16
Digests = NDArray[np.uint64]


@dataclass(frozen=True)
class HeldOut:
    """Digests of pictures that training may not see: of the queries that models are scored, or chosen, on.

    Attributes:
        scored: (n,) no split of a set may hold them.
        chosen: (m,) the training split may not.
    """

    scored: Digests
    chosen: Digests


@dataclass(frozen=True)
class Judged:
    """A set beside its embeddings.

    Attributes:
        training_set: whose rows.
        embeddings: of them, in the same order.
        held_out: of the benchmarks.
    """

    training_set: TrainingSet
    embeddings: SetEmbeddings
    held_out: HeldOut

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {name: self.embeddings.open_array(name) for name in ("digests", "states", "scored", "splits")}

    @cached_property
    def _scored(self) -> Digests:
        return np.unique(self.held_out.scored)

    @cached_property
    def _kept_from_training(self) -> Digests:
        """Digests of the pictures of the set's own validation rows, and of the benchmarks', in order."""
        arrays = self._arrays
        own = arrays["scored"][np.flatnonzero(arrays["splits"] == SPLITS.index("validation"))]
        images = np.unique(own[:, [REFERENCE, SCORED_TARGET]])
        digests = shorten_digests(arrays["digests"][images])
        return np.unique(np.concatenate([digests, self.held_out.scored, self.held_out.chosen]))

    def require_same_rows(self) -> None:
        """Refuse embeddings of other rows.

        Raises:
            InputInvalid: the set was made anew since it was embedded.
        """
        if self.embeddings.manifest["set"] != self.training_set.description.digest:
            raise InputInvalid(f"the set {self.training_set.address} is not the one that was embedded; run: dvc repro")

    def frame(self, start: int, texts: pd.DataFrame) -> pd.DataFrame:
        """Add what is known of rows, of which the first has the number `start`, to their texts."""
        at = slice(start, start + len(texts))
        scored = np.array(self._arrays["scored"][at])
        ends = scored[:, [REFERENCE, SCORED_TARGET]]
        digests = shorten_digests(self._arrays["digests"][ends.reshape(-1)])  # (2 B,)
        readable = self._arrays["states"][ends.reshape(-1)] == READ
        is_training = np.array(self._arrays["splits"][at]) == SPLITS.index("train")
        known = np.where(
            is_training.repeat(2), _contains(self._kept_from_training, digests), _contains(self._scored, digests)
        )
        is_twin = (known & readable).reshape(-1, 2).any(axis=1)
        pixels = _write_digits(digests, readable)
        return texts.assign(
            **score(_gather(self.embeddings, scored)),
            row=np.arange(at.start, at.stop),
            reference_pixels=pixels[::2].array,
            target_pixels=pixels[1::2].array,
            held_out_twin=texts["key"].where(is_twin),
        )


def frame_rows(judged: Judged, rows_at_once: int) -> Iterator[pd.DataFrame]:
    """Yield the rows of a set with all that is known of each, at most about `rows_at_once` together."""
    held: list[pd.DataFrame] = []
    start = 0
    for shard in judged.training_set.description.shards:
        texts = read_texts(judged.training_set, shard)
        held.append(judged.frame(start, texts))
        start += len(texts)
        if sum(map(len, held)) >= rows_at_once:
            yield pd.concat(held, ignore_index=True)
            held = []
    if held:
        yield pd.concat(held, ignore_index=True)


def shorten_digests(digests: NDArray[np.uint8]) -> Digests:
    """Return the first 64 bits of digests, (N, 16) -> (N,): enough to tell 10^8 pictures apart."""
    head = np.ascontiguousarray(digests[:, :8])
    short: Digests = head.view(np.uint64).reshape(-1)
    return short


def _contains(known: Digests, digests: Digests) -> NDArray[np.bool_]:
    """Return which digests are known, (N,) -> (N,). known: (M,) in order."""
    if not len(known):
        return np.zeros(len(digests), np.bool_)
    places = np.minimum(np.searchsorted(known, digests), len(known) - 1)
    found: NDArray[np.bool_] = known[places] == digests
    return found


def _write_digits(digests: Digests, shown: NDArray[np.bool_]) -> "pd.Series[str]":
    """Return digests in base 16, none where not shown. digests, shown: (N,)."""
    digits = digests.astype(">u8").tobytes().hex()
    places = range(0, len(digits), _DIGEST_DIGITS)
    written = [digits[place : place + _DIGEST_DIGITS] for place in places]
    return pd.Series(written, dtype="str").where(shown)


def _gather(embeddings: SetEmbeddings, scored: NDArray[np.int64]) -> EmbeddedPairs:
    """Gather what the filters compare, (B, 5) rows -> five times (B, learned D); NaN for a missing text."""
    learned = embeddings.encoder.learned_dim

    def texts(column: int) -> NDArray[np.float32]:
        rows = scored[:, column]
        if embeddings.encoder.joint is None:  # no text can be compared with a picture
            return np.full((len(rows), learned), np.nan, np.float32)
        vectors = embeddings.texts_pooled[np.maximum(rows, 0), :learned].astype(np.float32)
        vectors[rows == NOTHING] = np.nan
        return vectors

    return EmbeddedPairs(
        reference=embeddings.images[scored[:, REFERENCE], :learned].astype(np.float32),
        target=embeddings.images[scored[:, SCORED_TARGET], :learned].astype(np.float32),
        reference_caption=texts(REFERENCE_CAPTION),
        target_caption=texts(TARGET_CAPTION),
        asked=texts(ASKED),
    )
