"""What there is to learn from: which rows of a set's embeddings belong together.

Each task is a table (examples, 4) of rows: TEXT says what to find, IMAGE is the reference, MASK the region to replace,
TARGET the picture to find. The tables are written once, by the stage validate, and mapped as they are by every process
that trains:

    train/text_to_image.npy, masked.npy, triplet.npy   (n, 4) i64; triplets of one relation stand together
    train/relation_starts.npy (relations + 1,) i64     where each relation's triplets begin, and where the last ones end
    train/negatives.npy (n, H) i64                     of each triplet, images that are wrong answers; H may be 0
    validation/...                                     the same
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compodiff.embeddings.set_arrays import NOTHING, NULL_TEXT, SetEmbeddings, create_array
from compodiff.sets import SPLITS
from compodiff.storage.arrays import open_array

__all__ = ["IMAGE", "MASK", "NOTHING", "NULL_TEXT", "TARGET", "TASKS", "TEXT", "Mixture", "Rows", "SetExamples"]

TEXT, IMAGE, MASK, TARGET = range(4)
TASKS = ("text_to_image", "masked", "triplet")
Rows = NDArray[np.int64]
_ROWS_AT_ONCE = 2**16
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
        remedy = f"run: dvc repro --single-item --force validate@{self.name}"
        return open_array(self.folder / f"{name}.npy", remedy=remedy)


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
        """Return the width of what is learned of the embeddings."""
        return self.sets[0].embeddings.encoder.learned_dim


def write_examples(
    folder: Path, embeddings: SetEmbeddings, accepted: NDArray[np.bool_], relations: NDArray[np.int32]
) -> None:
    """Write the tables of the accepted rows of a set, some shards at a time.

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
            _write_table(folder / split / f"{task}.npy", embeddings, task, kept)
        _write_triplets(folder / split, embeddings, kept, relations)


def _write_table(path: Path, embeddings: SetEmbeddings, task: str, kept: NDArray[np.bool_]) -> None:
    """Write the examples of kept rows, each once: rows of a shard may say the same of one picture."""
    with _open_table(path, columns=TARGET + 1) as append:
        for table in _iterate_kept(embeddings, task, kept):
            own = table[:, 1:]
            _, first = np.unique(own, axis=0, return_index=True)
            append(own[np.sort(first)])


@contextmanager
def _open_table(path: Path, columns: int) -> Iterator[Callable[[Rows], None]]:
    """Yield what appends rows (k, columns) to a new table; how many there are is written at the end."""
    count = 0

    def write_head() -> None:
        described = {"descr": "<i8", "fortran_order": False, "shape": (count, columns)}
        np.lib.format.write_array_header_1_0(file, described)  # has room for any number of rows

    def append(rows: Rows) -> None:
        nonlocal count
        count += len(rows)
        file.write(rows.tobytes())

    with path.open("wb") as file:
        write_head()
        yield append
        file.seek(0)
        write_head()


def _iterate_kept(embeddings: SetEmbeddings, task: str, kept: NDArray[np.bool_]) -> Iterator[Rows]:
    """Yield the examples of kept rows as they are embedded, (k, 5), those of some shards at a time."""
    table = embeddings.open_array(task)
    for rows in embeddings.list_row_groups(_ROWS_AT_ONCE):
        own = _cut_rows(table, rows)
        yield own[kept[own[:, 0]]]


def _cut_rows(table: NDArray[np.int64], rows: slice) -> NDArray[np.int64]:
    """Read what a table, of which the first column names rows in order, says of some of them."""
    column = table[:, 0]
    return np.array(table[bisect_left(column, rows.start) : bisect_left(column, rows.stop)])


def _write_triplets(
    folder: Path, embeddings: SetEmbeddings, kept: NDArray[np.bool_], relations: NDArray[np.int32]
) -> None:
    """Write the triplets of kept rows, those of one relation together, each with its negatives."""
    negatives = embeddings.open_array("negatives")
    counts, width = np.zeros(int(relations.max(initial=-1)) + 1, np.int64), 0
    for table in _iterate_kept(embeddings, "triplet", kept):
        counts += np.bincount(relations[table[:, 0]], minlength=len(counts))
        width = max(width, _gather_negatives(negatives, table[:, 0]).shape[1])
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    np.save(folder / "relation_starts.npy", np.concatenate([[0], starts[1:][counts > 0]]).astype(np.int64))
    written = create_array(folder / "triplet.npy", np.dtype(np.int64), (int(starts[-1]), TARGET + 1))
    beside = create_array(folder / "negatives.npy", np.dtype(np.int64), (len(written), width))
    following = starts[:-1].copy()  # (relations,) where the next triplet of each goes
    for table in _iterate_kept(embeddings, "triplet", kept):
        order = np.argsort(relations[table[:, 0]], kind="stable")
        ordered = table[order]
        own = relations[ordered[:, 0]]
        places = following[own] + np.arange(len(own)) - np.searchsorted(own, own)
        following += np.bincount(own, minlength=len(counts))
        written[places] = ordered[:, 1:]
        found = _gather_negatives(negatives, ordered[:, 0])
        beside[places] = np.pad(found, ((0, 0), (0, width - found.shape[1])), constant_values=NOTHING)


def _gather_negatives(negatives: NDArray[np.int64], rows: NDArray[np.int64]) -> Rows:
    """Gather (n, H) images that are wrong answers to each triplet's row. negatives: (k, 2) row, image, in order."""
    if not len(rows) or not len(negatives):
        return np.empty((len(rows), 0), np.int64)
    own = _cut_rows(negatives, slice(rows.min(), rows.max() + 1))
    first, last = np.searchsorted(own[:, 0], rows), np.searchsorted(own[:, 0], rows, side="right")
    width = int(min(_MOST_NEGATIVES, (last - first).max()))
    gathered = np.full((len(rows), width), NOTHING, np.int64)
    for place in range(width):
        has = first + place < last
        gathered[has, place] = own[first[has] + place, 1]
    return gathered
