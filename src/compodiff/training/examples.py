"""What there is to learn from: which rows of a set's embeddings belong together.

Each task is a table (examples, 4) of rows: TEXT says what to find, IMAGE is the reference, MASK the region to replace,
TARGET the picture to find. The tables are written once, by the stage validate, and mapped as they are by every process
that trains:

    train/text_to_image.npy, masked.npy, triplet.npy   (n, 4) i64; triplets of one relation stand together
    train/relation_starts.npy (relations + 1,) i64     where each relation's triplets begin, and where the last ones end
    train/negatives.npy (n, H) i64                     of each triplet, images that are wrong answers; H may be 0
    validation/...                                     the same
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compodiff.embeddings.set_arrays import NOTHING, NULL_TEXT, SetEmbeddings, iterate_chunks
from compodiff.errors import InputInvalid
from compodiff.sets import SPLITS

__all__ = ["IMAGE", "MASK", "NOTHING", "NULL_TEXT", "TARGET", "TASKS", "TEXT", "Mixture", "Rows", "SetExamples"]

TEXT, IMAGE, MASK, TARGET = range(4)
TASKS = ("text_to_image", "masked", "triplet")
Rows = NDArray[np.int64]
_ROWS_AT_ONCE = 2**20
_MOST_NEGATIVES = 8  # of one triplet


@dataclass(frozen=True)
class SetExamples:
    """The examples of one split of a set, with the embeddings that they name."""

    name: str
    embeddings: SetEmbeddings
    folder: Path

    def open_table(self, task: str) -> Rows:
        """Map the table of a task, (n, 4).

        Raises:
            InputInvalid: it is missing or damaged.
        """
        return self._open_array(task)

    @cached_property
    def relation_starts(self) -> Rows:
        """(relations + 1,) where each relation's triplets begin, and where the last ones end."""
        return np.array(self._open_array("relation_starts"))

    @cached_property
    def negatives(self) -> Rows:
        """(n, H) wrong answers to each triplet, NOTHING where there are fewer."""
        return self._open_array("negatives")

    def _open_array(self, name: str) -> Rows:
        path = self.folder / f"{name}.npy"
        try:
            mapped: Rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputInvalid(
                f"{path} is missing or damaged ({error}); run: dvc repro --single-item --force validate@{self.name}"
            ) from error
        return mapped


@dataclass(frozen=True)
class Mixture:
    """What a training draws from.

    Attributes:
        sets: the training splits of the sets.
        shares: task -> name of a set -> share of a batch's rows.
        digest: changes whenever an example or an embedding does.
    """

    sets: tuple[SetExamples, ...]
    shares: Mapping[str, Mapping[str, float]]
    digest: str = ""

    @property
    def embedding_dim(self) -> int:
        """Return the width of the embeddings."""
        return self.sets[0].embeddings.encoder.embedding_dim


def write_examples(
    folder: Path, embeddings: SetEmbeddings, accepted: NDArray[np.bool_], relations: NDArray[np.int32]
) -> None:
    """Write the tables of the accepted rows of a set.

    Args:
        folder: gets train/ and validation/.
        embeddings: of the set.
        accepted: (R,) of each row of the set.
        relations: (R,) number of each row's relation; triplets are ordered by it.
    """
    splits = np.array(embeddings.open_array("splits"))
    for number, split in enumerate(SPLITS):
        (folder / split).mkdir(parents=True)
        kept = accepted & (splits == number)
        for task in ("text_to_image", "masked"):
            _write_table(folder / split / f"{task}.npy", embeddings.open_array(task), kept)
        _write_triplets(folder / split, embeddings, kept, relations)


def _write_table(path: Path, table: NDArray[np.int64], kept: NDArray[np.bool_]) -> None:
    """Write the examples of kept rows, each once: neighbouring rows may say the same of one picture."""
    parts = [_take_kept(np.array(table[chunk]), kept) for chunk in iterate_chunks(len(table), _ROWS_AT_ONCE)]
    np.save(path, np.concatenate([np.empty((0, 4), np.int64), *parts]))


def _take_kept(table: NDArray[np.int64], kept: NDArray[np.bool_]) -> Rows:
    own = table[kept[table[:, 0]], 1:]
    _, first = np.unique(own, axis=0, return_index=True)
    return own[np.sort(first)]


def _write_triplets(
    folder: Path, embeddings: SetEmbeddings, kept: NDArray[np.bool_], relations: NDArray[np.int32]
) -> None:
    table = embeddings.open_array("triplet")
    rows = np.array(table[:, 0])
    chosen = np.flatnonzero(kept[rows])
    chosen = chosen[np.argsort(relations[rows[chosen]], kind="stable")]
    np.save(folder / "triplet.npy", table[chosen][:, 1:])
    counts = np.bincount(relations[rows[chosen]]) if len(chosen) else np.zeros(0, np.int64)
    starts = np.concatenate([[0], np.cumsum(counts[counts > 0])]).astype(np.int64)
    np.save(folder / "relation_starts.npy", starts)
    np.save(folder / "negatives.npy", _gather_negatives(np.array(embeddings.open_array("negatives")), rows[chosen]))


def _gather_negatives(negatives: NDArray[np.int64], rows: NDArray[np.int64]) -> Rows:
    """Gather (n, H) images that are wrong answers to each triplet's row. negatives: (k, 2) row, image, in order."""
    first, last = np.searchsorted(negatives[:, 0], rows), np.searchsorted(negatives[:, 0], rows, side="right")
    width = int(min(_MOST_NEGATIVES, (last - first).max(initial=0)))
    gathered = np.full((len(rows), width), NOTHING, np.int64)
    for place in range(width):
        has = first + place < last
        gathered[has, place] = negatives[first[has] + place, 1]
    return gathered
