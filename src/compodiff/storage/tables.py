"""Parquet tables larger than memory: read and written a group of rows at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from compodiff.errors import InputInvalid
from compodiff.storage.atomic import replace_path
from compodiff.storage.ownership import make_signature

ROWS_PER_GROUP = 8192
_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), list[int]: pa.list_(pa.int32())}


class TableWriter:
    """A table while it is written; holds the rows of one group."""

    def __init__(self, writer: Any, schema: Any) -> None:
        self.rows = 0
        self._writer = writer
        self._schema = schema
        self._held: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row."""
        self._held.append(row)
        self.rows += 1
        if len(self._held) == ROWS_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the rows held as a group of their own."""
        if self._held:
            self._writer.write_table(pa.Table.from_pylist(self._held, schema=self._schema))
            self._held = []


def read_frame(path: Path) -> pd.DataFrame:
    """Read a parquet file; whole numbers stay whole beside missing ones, where pandas would make floats of them.

    Raises:
        OSError, ValueError: it is not there or damaged.
    """
    frame: pd.DataFrame = pq.read_table(path).to_pandas(integer_object_nulls=True)
    for name, column in list(frame.items()):
        if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) == "integer":
            frame[name] = column.astype("UInt64" if column.dropna().max() >= 2**63 else "Int64")
    return frame


@contextmanager
def open_table_writer(path: Path, columns: Mapping[str, Any], kind: str = "") -> Iterator[TableWriter]:
    """Yield a writer; when the block ends well the table appears under `path`. Equal rows give equal bytes.

    Columns are name -> str, int, float or list[int]; for `kind` see `atomic.replace_path`.

    Raises:
        ResourceUnavailable: the disk is full; nothing is left.
        InputInvalid: with `kind`, a file of somebody's is there.
    """
    signed = {"compodiff": make_signature(kind)} if kind else None
    schema = pa.schema([(name, _TYPES[type_]) for name, type_ in columns.items()], metadata=signed)
    with replace_path(path, kind) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        table = TableWriter(writer, schema)
        yield table
        table.flush()


def read_rows(path: Path, columns: Sequence[str], *, remedy: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a parquet file as dicts of `columns`, in their order; one group is in memory at a time.

    Other columns are skipped unread; `remedy` is the way out that an error names.

    Raises:
        InputInvalid: the file is missing, cut short, not parquet, or lacks a column.
    """
    missing = [name for name in columns if name not in read_column_names(path, remedy=remedy)]
    if missing:
        raise InputInvalid(f"{path} has no column {', '.join(missing)}; {remedy}")
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_PER_GROUP, columns=list(columns)):
                yield from batch.to_pylist()
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise InputInvalid(f"{path} is damaged ({_shorten_error(error)}); {remedy}") from error


def read_column_names(path: Path, *, remedy: str) -> list[str]:
    """Return the columns of a parquet file, from its footer.

    Raises:
        InputInvalid: the file is missing, cut short or not parquet.
    """
    try:
        names: list[str] = pq.read_schema(path).names
    except FileNotFoundError as error:
        raise InputInvalid(f"{path} is not there; {remedy}") from error
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise InputInvalid(f"{path} is cut short or not parquet ({_shorten_error(error)}); {remedy}") from error
    return names


def count_rows(path: Path) -> int:
    """Return how many rows a parquet file has, from its footer."""
    rows: int = pq.read_metadata(path).num_rows
    return rows


def _shorten_error(error: Exception) -> str:
    return " ".join(str(error).split())


def iterate_batches(path: Path, *, remedy: str) -> Iterator[Any]:
    """Yield the rows of a parquet file as tables of Arrow's, some thousands at a time; see `iterate_table`.

    Raises:
        InputInvalid: the file is missing, cut short or not parquet.
    """
    read_column_names(path, remedy=remedy)
    try:
        with pq.ParquetFile(path) as file:
            yield from (pa.Table.from_batches([batch]) for batch in file.iter_batches(ROWS_PER_GROUP))
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise InputInvalid(f"{path} is damaged ({_shorten_error(error)}); {remedy}") from error


def iterate_table(path: Path, *, remedy: str) -> Iterator[pd.DataFrame]:
    """Yield the rows of a parquet file, some thousands at a time; `remedy` is the way out that an error names.

    Raises:
        InputInvalid: the file is missing, cut short or not parquet.
    """
    return (batch.to_pandas() for batch in iterate_batches(path, remedy=remedy))


@contextmanager
def open_frame_writer(
    path: Path, *, group: int | None = None, compression: str = "snappy"
) -> Iterator[Callable[[Any], None]]:
    """Yield what appends rows, of pandas' or Arrow's, to a new parquet file; the first say of what types they are.

    Each time is a group of its own, or several of `group` rows.
    """
    with ExitStack() as opened:
        writer: pq.ParquetWriter | None = None

        def append(rows: Any) -> None:
            nonlocal writer
            table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)
            if writer is None:
                writer = opened.enter_context(pq.ParquetWriter(path, table.schema, compression=compression))
            writer.write_table(table.cast(writer.schema), row_group_size=group or max(1, len(table)))

        yield append


def write_table(path: Path, rows: pd.DataFrame) -> None:
    """Write rows as parquet, whole or not at all; equal rows give equal bytes."""
    with replace_path(path) as temporary:
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), temporary)


def read_table(path: Path, *, remedy: str = "run: dvc repro") -> pd.DataFrame:
    """Read a parquet file; `remedy` is the way out that an error names.

    Raises:
        InputInvalid: the file is missing, cut short or not parquet.
    """
    try:
        rows: pd.DataFrame = pq.read_table(path).to_pandas()
    except FileNotFoundError as error:
        raise InputInvalid(f"{path} is not there; {remedy}") from error
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise InputInvalid(f"{path} is cut short or not parquet ({error}); delete it and {remedy}") from error
    return rows
