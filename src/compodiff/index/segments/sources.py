"""Vectors that were embedded already, where they lie: shards of an array each, with a table of their rows or without.

A folder of arrays (x.npy, with x.parquet beside it), a folder of clip-retrieval (img_emb/img_emb_0.npy and
metadata/metadata_0.parquet), or an index, whose vectors are one shard. Shapes: N rows, D embedding width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from compodiff.errors import EncoderMismatch, InputInvalid
from compodiff.index.segments.columns import fit, read_types
from compodiff.index.segments.tables import ROW
from compodiff.storage.arrays import open_array
from compodiff.storage.tables import count_rows, iterate_batches, read_column_names

_ARRAYS, _TABLES = "img_emb", "metadata"
_IDS = ("picture_id", "key", "image_path")  # columns that may name a picture, the best first
_OWN = pa.schema(
    [(name, pa.string()) for name in ("picture_id", "name", "path", "sha256")]
    + [(name, pa.int64()) for name in ("offset", "length", ROW)]
)  # columns that every table of pictures has
_TYPES = (np.float16, np.float32)
_REMEDY = "write the shard again"


@dataclass(frozen=True)
class Shard:
    """One array of vectors (N, D) and the parquet file of what is known of its rows; None where nothing is.

    Attributes:
        id_column: column of the table that names pictures; "" for the first of those that usually do.
        below: folder that its paths start from, seen from that of the index; "" for the same.
    """

    vectors: Path
    table: Path | None
    count: int
    width: int
    id_column: str = field(default="", kw_only=True)
    below: str = field(default="", kw_only=True)

    @classmethod
    def open(cls, vectors: Path, table: Path | None) -> "Shard":
        """Read the headers of both.

        Raises:
            InputInvalid: the array cannot be read, is of other numbers, or has another number of rows than the table.
        """
        mapped = _map(vectors)
        if mapped.ndim != 2 or mapped.dtype.type not in _TYPES:
            raise InputInvalid(
                f"{vectors} holds {mapped.dtype} of shape {mapped.shape}; give (N, D) float16 or float32"
            )
        if table is not None and (rows := _count(table)) != len(mapped):
            raise InputInvalid(f"{vectors} has {len(mapped)} rows and {table} has {rows}; {_REMEDY}")
        return cls(vectors, table, *mapped.shape)

    def identify(self) -> list[Any]:
        """Return what changes when the shard does."""
        files = [self.vectors, *([self.table] if self.table else [])]
        known = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        return [*known, self.id_column, self.below]

    def read(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Return some vectors (n, D), as they are."""
        return np.array(_map(self.vectors)[rows])

    @property
    def place(self) -> str:
        """The file that errors name."""
        return str(self.table or self.vectors)

    def names_paths(self) -> bool:
        """Return whether the table says where pictures lie, seen from a folder."""
        tables = self.read_tables(0, self.read_schema())
        return any(_is_relative(path) for table in tables for path in table["path"].to_pylist())

    def read_schema(self) -> pa.Schema:
        """Return the columns that its rows will have, and their types.

        Raises:
            InputInvalid: the table is damaged.
        """
        if self.table is None:
            return _OWN
        read_column_names(self.table, remedy=_REMEDY)
        return complete_schema(read_types(pq.read_schema(self.table)))

    def read_tables(self, first: int, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield what is known of the rows, some thousands at a time, with the columns of `schema`.

        Raises:
            InputInvalid: the table is damaged, has no column of ids, a row has no id, or a value is of another type.
        """
        for rows in self._read_rows():
            yield fit(complete_rows(rows, self._find_ids(rows), first, self.below), schema, self.place)
            first += len(rows)

    def _read_rows(self) -> Iterator[pa.Table]:
        if self.table is not None:
            yield from iterate_batches(self.table, remedy=_REMEDY)
        else:
            yield pa.table({"picture_id": [f"{self.vectors.stem}-{row:09d}" for row in range(self.count)]})

    def _find_ids(self, rows: pa.Table) -> str:
        names = rows.column_names
        column = self.id_column if self.table else "picture_id"
        column = column or next((name for name in _IDS if name in names), "")
        if column not in names:
            raise InputInvalid(f"{self.table} has no column {column or 'picture_id'}; name one: --id COLUMN")
        if rows[column].null_count:
            raise InputInvalid(f"{self.table} has rows without {column}; name another column: --id COLUMN")
        return column


def list_shards(folder: Path, width: int, id_column: str = "") -> list[Shard]:
    """Return the shards of a folder, in the order of their names; their pictures are named by `id_column`.

    Raises:
        InputInvalid: there is none, or one cannot be used (see `Shard.open`).
        EncoderMismatch: one is not `width` wide.
    """
    arrays = sorted((folder / _ARRAYS).glob("*.npy")) or sorted(folder.glob("*.npy"))
    if (folder / "embeddings.npy").is_file() and (folder / "pictures.parquet").is_file():  # an index
        arrays = [folder / "embeddings.npy"]
    if not arrays:
        raise InputInvalid(f"{folder} holds no arrays; give a folder with x.npy and x.parquet, or of clip-retrieval")
    shards = [Shard.open(path, _find_table(folder, path)) for path in arrays]
    for shard in shards:
        if shard.width != width:
            raise EncoderMismatch(
                f"{shard.vectors} is {shard.width} wide, the model's encoder makes {width}; "
                "name the model whose encoder made it: --model"
            )
    return [replace(shard, id_column=id_column) for shard in shards if shard.count]


def sample_vectors(shards: Sequence[Shard], count: int, seed: int) -> NDArray[np.float32]:
    """Return about `count` vectors (n, D) drawn from all shards, each by its size; all where there are fewer."""
    total = sum(shard.count for shard in shards)
    generator = np.random.default_rng(seed)
    drawn = []
    for shard in shards:
        wanted = min(shard.count, -(-count * shard.count // total))
        rows = np.sort(generator.choice(shard.count, wanted, replace=False))
        drawn.append(shard.read(rows).astype(np.float32))
    return np.concatenate(drawn)


def _find_table(folder: Path, array: Path) -> Path | None:
    if array.name == "embeddings.npy" and (folder / "pictures.parquet").is_file():
        return folder / "pictures.parquet"
    if array.parent.name == _ARRAYS:
        table = folder / _TABLES / f"{_TABLES}{array.stem.removeprefix(_ARRAYS)}.parquet"
    else:
        table = array.with_suffix(".parquet")
    return table if table.is_file() else None


def _map(path: Path) -> NDArray[Any]:
    return open_array(path, remedy=_REMEDY)


def _count(table: Path) -> int:
    try:
        return count_rows(table)
    except (OSError, ValueError) as error:  # pyarrow's own is a ValueError
        raise InputInvalid(f"{table} is cut short or not parquet; {_REMEDY}") from error


def complete_schema(schema: pa.Schema) -> pa.Schema:
    """Return the columns of a table with those that every table of pictures has."""
    given = [_OWN.field(field.name) if field.name in _OWN.names else field for field in schema]
    return pa.schema([*given, *(field for field in _OWN if field.name not in schema.names)])


def complete_rows(rows: pa.Table, id_column: str, first: int, below: str = "") -> pa.Table:
    """Add the columns that every table of pictures has, and the number of each row; paths start `below` a folder."""
    count = len(rows)
    ids = rows[id_column].to_pandas().astype(str)
    path = _read_text(rows, "path" if "path" in rows.column_names else "image_path", "")
    own = {
        "picture_id": ids,
        "name": _read_text(rows, "name", ids),
        "path": [join_below(below, each) for each in path] if below else path,
        "offset": _count_bytes(rows, "offset"),
        "length": _count_bytes(rows, "length"),
        "sha256": _read_text(rows, "sha256", ""),
        ROW: np.arange(first, first + count),
    }
    others = {name: rows[name] for name in rows.column_names if name not in own}
    made = {name: pa.array(values, type=_OWN.field(name).type, from_pandas=True) for name, values in own.items()}
    return pa.table(made | others)


def join_below(folder: str, path: str) -> str:
    """Return a path that starts from `folder`; an absolute one, an address or "" stays as it is."""
    return (PurePosixPath(folder) / path).as_posix() if _is_relative(path) else path


def _is_relative(path: str) -> bool:
    return bool(path) and "://" not in path and not path.startswith("/")


def _read_text(rows: pa.Table, name: str, otherwise: "str | pd.Series[str]") -> "pd.Series[str]":
    """Return a column of texts; `otherwise` where a row has none."""
    if name not in rows.column_names:
        column = pd.Series([None] * len(rows), dtype=object)
    else:
        column = rows[name].to_pandas().astype(object)
    return column.where(column.notna(), otherwise).astype(str)


def _count_bytes(rows: pa.Table, name: str) -> NDArray[np.int64]:
    """Return a column of bytes (n,); 0 where nobody says."""
    if name not in rows.column_names:
        return np.zeros(len(rows), np.int64)
    return np.asarray(rows[name].fill_null(0).cast(pa.int64()))
