"""Rows of a set as the suite looks at them: texts, similarities, and what the pass over the pictures found.

Nothing is decoded here: pixels were digested, and pictures that cannot be read were noted, when they were embedded.
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
from compodiff.sets import PAIRS, SPLITS, TrainingSet
from compodiff.sets.blank import is_blank

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
    def _digests(self) -> Digests:
        return shorten_digests(self.embeddings.open_array("digests"))

    @cached_property
    def _kept_from_training(self) -> Digests:
        """Digests of the pictures of the set's own validation rows, and of the benchmarks'."""
        splits, scored = self.embeddings.open_array("splits"), self.embeddings.open_array("scored")
        own = scored[np.flatnonzero(splits == SPLITS.index("validation"))]
        images = np.unique(own[:, [REFERENCE, SCORED_TARGET]])
        return np.concatenate([self._digests[images], self.held_out.scored, self.held_out.chosen])

    @cached_property
    def _repeated_keys(self) -> Digests:
        """Keys that stand in two rows of the set, in whatever shards."""
        values, counts = np.unique(self.embeddings.open_array("keys"), return_counts=True)
        repeated: Digests = values[counts > 1]
        return repeated

    def require_same_rows(self) -> None:
        """Refuse embeddings of other rows.

        Raises:
            InputInvalid: the set was made anew since it was embedded.
        """
        if self.embeddings.manifest["set"] != self.training_set.description.digest:
            raise InputInvalid(f"the set {self.training_set.address} is not the one that was embedded; run: dvc repro")

    def frame(self, start: int, rows: pd.DataFrame) -> pd.DataFrame:
        """Add what is known of rows, of which the first has the number `start`, to their texts."""
        at = slice(start, start + len(rows))
        scored = np.array(self.embeddings.open_array("scored")[at])
        keys = np.array(self.embeddings.open_array("keys")[at])
        ends = scored[:, [REFERENCE, SCORED_TARGET]]
        digests, readable = self._digests[ends], self.embeddings.open_array("states")[ends] == READ
        is_training = np.array(self.embeddings.open_array("splits")[at]) == SPLITS.index("train")
        twins = (
            np.where(
                is_training[:, None],
                np.isin(digests, self._kept_from_training),
                np.isin(digests, self.held_out.scored),
            )
            & readable
        )
        pixels = np.char.mod("%016x", digests).astype(object)
        pixels[~readable] = None
        found = score(_gather(self.embeddings, scored)).set_axis(rows.index)
        return rows.assign(
            **found,
            row=np.arange(at.start, at.stop),
            is_key_repeated=np.isin(keys, self._repeated_keys),
            reference_pixels=pixels[:, 0],
            target_pixels=pixels[:, 1],
            held_out_twin=rows["key"].where(twins.any(axis=1)),
        )


def frame_rows(judged: Judged, rows_at_once: int) -> Iterator[pd.DataFrame]:
    """Yield the rows of a set with all that is known of them, at most about `rows_at_once` together."""
    held: list[pd.DataFrame] = []
    start = 0
    for shard in judged.training_set.description.shards:
        texts = _flatten(judged.training_set, shard)
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


def _flatten(training_set: TrainingSet, shard: Any) -> pd.DataFrame:
    """Return the columns of a shard's rows that the suite looks at: names of pictures, texts."""
    rows = training_set.read_rows(shard).to_pylist()
    first = [{"key": row["key"], "shard": shard.file, "split": row["split"]} for row in rows]
    if training_set.description.kind == PAIRS:
        own = [{"picture": row["picture"]["name"], "text": _longest(row["texts"])} for row in rows]
    else:
        own = [
            {
                "reference": row["reference"]["name"],
                "target": row["target"]["name"],
                "reference_caption": row["reference_caption"] or None,
                "target_caption": row["target_caption"] or None,
                "relative_caption": _longest(row["relative_captions"]),
                "relation": row["relation"],
            }
            for row in rows
        ]
    return pd.DataFrame([a | b for a, b in zip(first, own, strict=True)])


def _longest(texts: list[str]) -> str | None:
    return max((text for text in texts if not is_blank(text)), key=len, default=None)


def _gather(embeddings: SetEmbeddings, scored: NDArray[np.int64]) -> EmbeddedPairs:
    """Gather the embeddings that the filters compare, (B, 5) rows -> five times (B, D); NaN for a missing text."""

    def texts(column: int) -> NDArray[np.float32]:
        rows = scored[:, column]
        vectors = embeddings.texts_pooled[np.maximum(rows, 0)].astype(np.float32)
        vectors[rows == NOTHING] = np.nan
        return vectors

    return EmbeddedPairs(
        reference=embeddings.images[scored[:, REFERENCE]].astype(np.float32),
        target=embeddings.images[scored[:, SCORED_TARGET]].astype(np.float32),
        reference_caption=texts(REFERENCE_CAPTION),
        target_caption=texts(TARGET_CAPTION),
        asked=texts(ASKED),
    )
