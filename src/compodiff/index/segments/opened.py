"""An index at size, opened: searched over its segments, with what was taken out left out.

Shapes: N rows, D embedding width, B queries, k results.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compodiff.index.gpus import GpuCopies
from compodiff.index.index import Index
from compodiff.index.manifest import IndexManifest, make_damage_error, open_array, require_segments
from compodiff.index.nearest import NO_PICTURE, Floats, Nearest, Rows
from compodiff.index.segments.lists import MappedLists
from compodiff.index.segments.tables import PictureRows, RowById, TextColumn
from compodiff.index.segments.vectors import StoredVectors

HASHES, ROWS = "id_hashes.npy", "id_rows.npy"
_SAMPLED = 4096  # vectors that stand for all
Mask = NDArray[np.bool_]


def name_segment(number: int) -> str:
    """Return the folder of a segment, from that of the index."""
    return f"segments/{number:05d}"


def name_vectors(shard: int) -> str:
    """Return the file of a shard's vectors, from its segment."""
    return f"vectors-{shard:05d}.npy"


def name_pictures(shard: int) -> str:
    """Return the file of a shard's rows, from its segment."""
    return f"pictures-{shard:05d}.parquet"


def list_parts(folder: Path, manifest: IndexManifest) -> list[tuple[Path, int, int]]:
    """Return every shard of an index, in the order of rows: its segment, its number there, its rows."""
    parts = require_segments(manifest).parts
    return [
        (folder / name_segment(segment), shard, count)
        for segment, counts in enumerate(parts)
        for shard, count in enumerate(counts)
    ]


def read_removed(folder: Path, manifest: IndexManifest, size: int) -> Mask | None:
    """Return which of `size` rows were taken out; None where none was."""
    name = require_segments(manifest).removed
    return np.unpackbits(open_array(folder / name, mapped=False), count=size).astype(np.bool_) if name else None


def open_stored(folder: Path, manifest: IndexManifest) -> tuple[PictureRows, StoredVectors]:
    """Return the table and the vectors of an index, by row."""
    parts = list_parts(folder, manifest)
    counts = [count for _, _, count in parts]
    files = [segment / name_pictures(shard) for segment, shard, _ in parts]
    rows = PictureRows(files, counts, [file for file, (_, shard, _) in zip(files, parts, strict=True) if not shard])
    vectors = StoredVectors([segment / name_vectors(shard) for segment, shard, _ in parts], counts, manifest.dim)
    return rows, vectors


class SegmentedIndex(Index):
    """An index at size; `Index.load` is the way in."""

    def __init__(self, folder: Path, manifest: IndexManifest, nearest: Nearest | None = None) -> None:
        """Open it; with `nearest`, that is searched instead of the segments' own lists.

        Raises:
            IndexMismatch: a file is not what the manifest says.
            RuntimeError: FAISS's own; lists cannot be read.
        """
        self.folder, self.manifest, self.described = folder, manifest, require_segments(manifest)
        try:
            self.stored, self.embeddings = open_stored(folder, manifest)
            self.rows = self.stored
            self.removed = read_removed(folder, manifest, len(self.embeddings))
            self._nearest = nearest or NearestInSegments(folder, manifest, self.removed)
            self.pictures = self.stored.read([])
            folders = [folder / name_segment(number) for number in range(len(self.described.parts))]
            hashes = [(open_array(it / HASHES, mapped=True), open_array(it / ROWS, mapped=True)) for it in folders]
        except (OSError, ValueError, KeyError) as error:
            raise make_damage_error(folder, f"its tables cannot be read ({' '.join(str(error).split())})") from error
        self.ids = RowById(hashes, self.stored, self.removed)
        self.row = self.ids
        self.picture_ids, self.names = TextColumn(self.stored, "picture_id"), TextColumn(self.stored, "name")

    @property
    def lists(self) -> int:
        """How many lists a query can visit."""
        return MappedLists(self.folder / name_segment(0)).lists

    def list_rows(self) -> Sequence[int]:
        """Return the rows of all pictures that can be found."""
        size = len(self.embeddings)
        return range(size) if self.removed is None else np.flatnonzero(~self.removed).tolist()

    def drop_removed(self, rows: Rows) -> Rows:
        """Return those of some rows whose pictures can be found."""
        return rows if self.removed is None else rows[~self.removed[rows]]

    def read_sample(self) -> pd.DataFrame:
        """Return some rows from all over the table of pictures."""
        return self.stored.sample(self.drop_removed)

    def sample_vectors(self) -> Floats:
        """Return the embeddings (n, D) of the first of `list_rows`."""
        return self.embeddings[self.list_rows()[:_SAMPLED]]

    def search(
        self, queries: Floats, k: int, exclude: Sequence[Sequence[str]] = (), allowed: Rows | None = None
    ) -> tuple[Rows, Floats]:
        """Return the k pictures nearest to each query by cosine (see `Index.search`)."""
        return super().search(queries, k, exclude, None if allowed is None else self.drop_removed(allowed))


class NearestInSegments:
    """The lists of all segments (see `Nearest`)."""

    def __init__(self, folder: Path, manifest: IndexManifest, removed: Mask | None) -> None:
        """Open them.

        Raises:
            IndexMismatch: lists hold another number of vectors than the manifest says.
            RuntimeError: FAISS's own; they cannot be read.
            InputInvalid, ResourceUnavailable: see `GpuCopies`.
        """
        described = require_segments(manifest)
        counts = [sum(shards) for shards in described.parts]
        self._starts = [0, *np.cumsum(counts).tolist()]
        self._lists = [MappedLists(folder / name_segment(number), described.probes) for number in range(len(counts))]
        self._gpus = GpuCopies([lists.index for lists in self._lists])
        for number, (lists, count) in enumerate(zip(self._lists, counts, strict=True)):
            if lists.shape != (count, manifest.dim):
                found = f"{name_segment(number)} holds {lists.shape[0]} x {lists.shape[1]}"
                raise make_damage_error(folder, f"{found} of {count} x {manifest.dim}")
        self._kept = None if removed is None else self._cut_bits(~removed)

    @property
    def size(self) -> int:
        """How many rows there are, those that were taken out with them."""
        return int(self._starts[-1])

    def search(self, unit: Floats, k: int, allowed: Rows | None) -> tuple[Floats, Rows]:
        """Return the rows nearest to each query, by estimated cosines."""
        bits = self._kept
        if allowed is not None:
            mask = np.zeros(self.size, np.bool_)
            mask[allowed] = True
            bits = self._cut_bits(mask)
        scores, rows = [], []
        for number in range(len(self._lists)):
            near, found = self._search_one(number, unit, k, None if bits is None else bits[number])
            scores.append(np.where(found == NO_PICTURE, np.float32(-np.inf), near))
            rows.append(np.where(found == NO_PICTURE, NO_PICTURE, found + self._starts[number]))
        every, all_rows = np.concatenate(scores, axis=1), np.concatenate(rows, axis=1)
        order = np.argsort(-every, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(every, order, axis=1), np.take_along_axis(all_rows, order, axis=1)

    def _search_one(self, number: int, unit: Floats, k: int, bits: NDArray[np.uint8] | None) -> tuple[Floats, Rows]:
        """Search one segment, on GPUs where that can be: they look at all rows."""
        if bits is None and (found := self._gpus.search(number, unit, k)) is not None:
            return found
        return self._lists[number].search(unit, k, bits)

    def _cut_bits(self, mask: Mask) -> list[NDArray[np.uint8]]:
        """Return the bits of each segment, as FAISS reads them."""
        pairs = zip(self._starts[:-1], self._starts[1:], strict=True)
        return [np.packbits(mask[start:end], bitorder="little") for start, end in pairs]
