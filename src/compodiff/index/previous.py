"""What the next index of a folder takes over from this one: what did not change is not read, encoded or compared again.

Shapes: N pictures, D embedding width, L bytes of a look.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compodiff.encoders.manifest import EncoderManifest
from compodiff.errors import IndexMismatch
from compodiff.images.looks import LOOK_SHAPE, Looks
from compodiff.index import MANIFEST
from compodiff.index.duplicates import NEW
from compodiff.index.index import GROUP, Floats, Index
from compodiff.index.manifest import open_array
from compodiff.index.own_columns import OwnColumns
from compodiff.params import IndexParams

Stamp = tuple[int, int, int]

UNSURE: Stamp = (0, 0, 0)
_LOOKS, _STAMPS, _COSINE = "looks.npy", "stamps.npy", "duplicate_cosine.npy"
_PARAMS = "params.npy"
_COARSEST_CLOCK = 2 * 10**9  # ns: a file that was just written may be written again within the same tick (FAT: 2 s)


def make_stamp(status: os.stat_result) -> Stamp:
    """Return size, time and inode of a file: while they stay, so do its bytes. UNSURE of one that is seconds old."""
    if time.time_ns() - status.st_mtime_ns < _COARSEST_CLOCK:
        return UNSURE
    return tuple(map(clip_to_64_bits, (status.st_size, status.st_mtime_ns, status.st_ino)))  # type: ignore[return-value]


def stamp_file(path: Path) -> Stamp:
    """Return the stamp of a file; UNSURE of one that cannot be looked up."""
    try:
        return make_stamp(path.stat())
    except OSError:
        return UNSURE


def clip_to_64_bits(number: int) -> int:
    """Return a number as an array holds it: times after 2262 and inodes of network file systems may be beyond."""
    return min(max(number, -(2**63)), 2**63 - 1)


@dataclass(frozen=True)
class IndexRows:
    """Rows of an index to be: their table, embeddings (N, D), looks (N, L) and stamps (N, 3)."""

    table: pd.DataFrame
    embeddings: Floats
    looks: Looks
    stamps: NDArray[np.int64]

    def join(self, more: "IndexRows") -> "IndexRows":
        """Return both as one."""
        return IndexRows(
            pd.concat([self.table, more.table], ignore_index=True) if len(self.table) else more.table,
            np.concatenate([self.embeddings, more.embeddings]),
            np.concatenate([self.looks, more.looks]),
            np.concatenate([self.stamps, more.stamps]),
        )

    def make_arrays(self, duplicate_cosine: float, params: IndexParams) -> dict[str, NDArray[np.generic]]:
        """Return the arrays that stand beside an index for the next one."""
        beside = {_COSINE: np.array(duplicate_cosine), _PARAMS: np.array(params.model_dump_json())}
        return {_LOOKS: self.looks, _STAMPS: self.stamps, **beside}


class EarlierIndex:
    """An index over a folder that the next one takes the place of."""

    def __init__(self, index: Index) -> None:
        """Open what stands beside `index`; an index of another make has none of it."""
        self.index = index
        count = index.manifest.count
        self.looks = read_looks(index)
        stamps = _open_array(index.folder / _STAMPS, (count, len(UNSURE)))
        self._stamps = np.zeros((count, len(UNSURE)), np.int64) if stamps is None else np.array(stamps)
        self._duplicate_cosine = read_cosine(index)
        self._sha256: list[str] = index.pictures["sha256"].tolist()
        self.own = OwnColumns.read_beside(index.folder, index.pictures)

    @classmethod
    def open(cls, folder: Path) -> "EarlierIndex | None":
        """Return the index at `folder`, or None where there is none.

        Raises:
            IndexMismatch: it is damaged.
        """
        return cls(Index.load(folder)) if (folder / MANIFEST).is_file() else None

    def has_encoder(self, encoder: EncoderManifest) -> bool:
        """Return whether its embeddings are what `encoder` would make."""
        return self.looks is not None and self.index.manifest.encoder == encoder

    def find_unchanged(self, picture_id: str, stamp: Stamp) -> str | None:
        """Return the sha256 of a picture's bytes, if its file is as it was when they were read."""
        row = self.index.row.get(picture_id)
        if row is None or stamp == UNSURE or tuple(self._stamps[row].tolist()) != stamp:
            return None
        return self._sha256[row]

    def has_stamps(self, stamps: NDArray[np.int64]) -> bool:
        """Return whether all files, (N, 3) in the order of the rows, are as they were when they were read."""
        return np.array_equal(self._stamps, stamps) and not (stamps == UNSURE).all(1).any()

    def remove(self, gone: set[str]) -> IndexRows:
        """Return the pictures but those that are `gone`.

        Raises:
            IndexMismatch: the index does not know how its pictures look, being no index of a folder.
        """
        if self.looks is None:
            raise IndexMismatch(f"the index {self.index.folder} cannot be changed; make it anew: compodiff index build")
        rows = np.flatnonzero(~self.index.pictures["picture_id"].isin(gone).to_numpy())
        table = self.index.pictures.iloc[rows].reset_index(drop=True).drop(columns=self.own.names)
        return IndexRows(table, self.index.embeddings[rows], self.looks[rows], self._stamps[rows])

    def find_groups(self, table: pd.DataFrame, duplicate_cosine: float) -> NDArray[np.int64]:
        """Return near-duplicates of `table` (N rows) that are known: the row of the first of each one's group, or NEW.

        A group that has lost its first picture is not known: the others need not look like each other.
        """
        if duplicate_cosine != self._duplicate_cosine:
            return np.full(len(table), NEW)
        old = self.index.pictures
        keys = zip(old["picture_id"], old["sha256"], strict=True)
        groups: dict[tuple[str, str], str] = dict(zip(keys, old[GROUP], strict=True))
        found = [groups.get(key) for key in zip(table["picture_id"], table["sha256"], strict=True)]
        row_of = {picture_id: row for row, picture_id in enumerate(table["picture_id"]) if found[row] == picture_id}
        return np.array([NEW if group is None else row_of.get(group, NEW) for group in found], dtype=np.int64)


def read_looks(index: Index) -> Looks | None:
    """Return how an index's pictures look, (N, L); None of an index that is not of a folder, or of another make."""
    looks: Looks | None = _open_array(index.folder / _LOOKS, (index.manifest.count, *LOOK_SHAPE))
    return looks


def read_cosine(index: Index) -> float | None:
    """Return from which cosine pictures of an index may be near-duplicates; None where it has none."""
    cosine = _open_array(index.folder / _COSINE, ())
    return None if cosine is None else float(cosine)


def read_params(index: Index) -> str | None:
    """Return the params that an index of a folder was made with, as JSON; None where it does not say."""
    params = _open_array(index.folder / _PARAMS, ())
    return None if params is None else str(params)


def _open_array(path: Path, shape: tuple[int, ...]) -> Any:
    """Return an array of an index, memory-mapped; None where there is none, or one of another make."""
    if not path.is_file():
        return None
    array = open_array(path)
    return array if array.shape == shape else None
