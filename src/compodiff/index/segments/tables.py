"""What is known of the pictures of an index at size: rows by number and by id, read from parquet files as they lie."""

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from cachetools import LRUCache
from numpy.typing import NDArray

from compodiff.storage.tables import open_frame_writer

ROW = "row#"
_GROUP = 2048  # rows that are read for one of them
_KEPT = 256  # groups of rows that are remembered, by the columns that were asked for
_SAMPLED = 8192


def write_rows(path: Path, tables: Iterator[pa.Table]) -> None:
    """Write rows of pictures, in groups that are small enough to be read for a single row."""
    with open_frame_writer(path, group=_GROUP, compression="zstd") as append:
        for table in tables:
            append(table)


def read_ids(path: Path) -> pd.Series:
    """Return the ids of a file of rows."""
    ids: pd.Series = pq.read_table(path, columns=["picture_id"]).column(0).to_pandas()
    return ids


class PictureRows:
    """The table of pictures, in files one after the other; safe to use from many threads."""

    def __init__(self, files: Sequence[Path], counts: Sequence[int], heads: Sequence[Path]) -> None:
        """Take files and how many rows each has, and those of them that together have all columns."""
        self.files = list(files)
        self._starts = [0, *accumulate(counts)]
        self._opened: dict[int, tuple[pq.ParquetFile, list[int]]] = {}
        self._alone = threading.Lock()
        self._groups: LRUCache[tuple[int, int, tuple[str, ...]], pa.Table] = LRUCache(_KEPT)
        schemas = [pq.read_schema(file).remove_metadata() for file in heads]
        self.schema: pa.Schema = pa.unify_schemas(schemas, promote_options="permissive")
        self.columns: list[str] = [name for name in self.schema.names if name != ROW]

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, rows: Sequence[int], columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return rows by their numbers, in the order in which they are named."""
        names = tuple(columns or self.columns)
        with self._alone:
            parts = [self._read_row(int(row), names) for row in rows]
        frame: pd.DataFrame = self._join(names, parts).to_pandas(integer_object_nulls=True)
        return frame

    def read_text(self, row: int, column: str) -> str:
        """Return one value of a column of texts."""
        with self._alone:
            return str(self._read_row(row, (column,))[column][0].as_py())

    def read_column(self, name: str, rows: range) -> list[Any]:
        """Return a column of neighbouring rows."""
        return self.read(rows, (name,))[name].tolist() if len(rows) else []

    def list_places(self, row: Mapping[str, int]) -> "PicturePlaces":
        """Return where the bytes of each picture are, by id."""
        return PicturePlaces(row, self)

    def sample(self, choose: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> pd.DataFrame:
        """Return some rows from all over the table; `choose` gets their numbers and returns those that are wanted."""
        with self._alone:
            opened = [self._open(file)[0] for file in range(len(self.files))]
            places = [(file, group) for file in opened for group in range(file.num_row_groups)]
            step = max(1, len(places) * _GROUP // _SAMPLED)
            parts = [file.read_row_group(group, [*self.columns, ROW]) for file, group in places[::step]]
        table = self._join((*self.columns, ROW), parts)
        numbers = table[ROW].to_numpy()
        frame: pd.DataFrame = table.filter(np.isin(numbers, choose(numbers))).drop_columns(ROW).to_pandas()
        return frame

    def _join(self, names: Sequence[str], parts: Sequence[pa.Table]) -> pa.Table:
        """Return tables one after the other; a column that one lacks is null there."""
        return pa.concat_tables([self.schema.empty_table().select(names), *parts], promote_options="permissive")

    def _read_row(self, row: int, columns: tuple[str, ...]) -> pa.Table:
        file = bisect_right(self._starts, row) - 1
        opened, starts = self._open(file)
        within = row - self._starts[file]
        group = bisect_right(starts, within) - 1
        key = (file, group, columns)
        if key not in self._groups:
            self._groups[key] = opened.read_row_group(group, list(columns))
        return self._groups[key].slice(within - starts[group], 1)

    def _open(self, file: int) -> tuple[pq.ParquetFile, list[int]]:
        if file not in self._opened:
            opened = pq.ParquetFile(self.files[file], memory_map=True)
            footer = opened.metadata
            counts = (footer.row_group(group).num_rows for group in range(footer.num_row_groups))
            self._opened[file] = opened, [0, *accumulate(counts)][:-1]
        return self._opened[file]


class TextColumn(Sequence[str]):
    """A column of texts by row number."""

    def __init__(self, rows: PictureRows, name: str) -> None:
        """Take the table and the column's name."""
        self._rows, self._name = rows, name

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return self._rows.read_column(self._name, range(*place.indices(len(self))))
        return self._rows.read_text(range(len(self))[place], self._name)


def hash_ids(ids: pd.Series) -> NDArray[np.uint64]:
    """Return hashes (N,) of ids, the same on every machine."""
    return np.asarray(pd.util.hash_array(ids.to_numpy(dtype=object), categorize=False), np.uint64)


class RowById(Mapping[str, int]):
    """Rows by picture id, found in sorted hashes that are memory-mapped; what was taken out is not there."""

    def __init__(
        self,
        parts: Sequence[tuple[NDArray[np.uint64], NDArray[np.int64]]],
        rows: PictureRows,
        removed: NDArray[np.bool_] | None,
    ) -> None:
        """Take of each segment its hashes, ascending, and the rows that they are of, both (n,)."""
        self._parts, self._rows, self._removed = parts, rows, removed

    def __getitem__(self, picture_id: str) -> int:
        asked = hash_ids(pd.Series([picture_id], dtype=object))[0]
        for hashes, rows in self._parts:
            at = int(np.searchsorted(hashes, asked))
            while at < len(hashes) and hashes[at] == asked:
                row = int(rows[at])
                if not self._is_removed(row) and self._rows.read_text(row, "picture_id") == picture_id:
                    return row
                at += 1
        raise KeyError(picture_id)

    def find_known(self, ids: pd.Series) -> str | None:
        """Return one of some ids that has a row; None where none has."""
        asked = hash_ids(ids)
        for hashes, _ in self._parts:
            at = np.minimum(np.searchsorted(hashes, asked), len(hashes) - 1)
            for place in np.flatnonzero(hashes[at] == asked).tolist():
                if ids.iloc[place] in self:
                    return str(ids.iloc[place])
        return None

    def __iter__(self) -> Iterator[str]:
        return (self._rows.read_text(row, "picture_id") for row in range(len(self._rows)) if not self._is_removed(row))

    def __len__(self) -> int:
        return len(self._rows) - (0 if self._removed is None else int(self._removed.sum()))

    def _is_removed(self, row: int) -> bool:
        return self._removed is not None and bool(self._removed[row])


class PicturePlaces(Mapping[str, tuple[str, int, int]]):
    """Where the bytes of each picture are: path, offset and length, by id."""

    def __init__(self, row: Mapping[str, int], rows: PictureRows) -> None:
        """Take the rows by id and by number."""
        self._row, self._rows = row, rows

    def __getitem__(self, picture_id: str) -> tuple[str, int, int]:
        path, offset, length = self._rows.read([self._row[picture_id]], ("path", "offset", "length")).iloc[0]
        return str(path), int(offset), int(length)

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)
