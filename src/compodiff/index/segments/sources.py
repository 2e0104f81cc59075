"""Vectors that were embedded already, where they lie: shards of an array each, with a table of their rows or without.

A folder of arrays (x.npy, with x.parquet beside it), a folder of clip-retrieval (img_emb/img_emb_0.npy and
metadata/metadata_0.parquet), or an index, whose vectors are one shard. Shapes: N rows, D embedding width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compodiff.errors import EncoderMismatch, InputInvalid
from compodiff.storage.tables import count_rows, iterate_table

_ARRAYS, _TABLES = "img_emb", "metadata"
_IDS = ("picture_id", "key", "image_path")  # columns that may name a picture, the best first
_TYPES = (np.float16, np.float32)
_REMEDY = "write the shard again"


@dataclass(frozen=True)
class Shard:
    """One array of vectors (N, D) and the parquet file of what is known of its rows; None where nothing is."""

    vectors: Path
    table: Path | None
    count: int
    width: int

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
        return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]

    def read(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Return some vectors (n, D), as they are."""
        return np.array(_map(self.vectors)[rows])

    def read_tables(self, first: int, id_column: str | None) -> Iterator[pd.DataFrame]:
        """Yield what is known of the rows, some thousands at a time, with the columns that every index has.

        Raises:
            InputInvalid: the table is damaged, has no column of that name, or a row has no id.
        """
        if self.table is None:
            names = [f"{self.vectors.stem}-{row:09d}" for row in range(self.count)]
            yield complete_rows(pd.DataFrame({"picture_id": names}), "picture_id", first)
            return
        for rows in iterate_table(self.table, remedy=_REMEDY):
            column = id_column or next((name for name in _IDS if name in rows), "")
            if column not in rows:
                raise InputInvalid(f"{self.table} has no column {column or 'picture_id'}; name one: --id COLUMN")
            if rows[column].isna().any():
                raise InputInvalid(f"{self.table} has rows without {column}; name another column: --id COLUMN")
            yield complete_rows(rows, column, first)
            first += len(rows)


def list_shards(folder: Path, width: int) -> list[Shard]:
    """Return the shards of a folder, in the order of their names.

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
    return [shard for shard in shards if shard.count]


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
    try:
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputInvalid(f"{path} cannot be read ({' '.join(str(error).split())}); {_REMEDY}") from error
    return mapped


def _count(table: Path) -> int:
    try:
        return count_rows(table)
    except (OSError, ValueError) as error:  # pyarrow's own is a ValueError
        raise InputInvalid(f"{table} is cut short or not parquet; {_REMEDY}") from error


def complete_rows(rows: pd.DataFrame, id_column: str, first: int) -> pd.DataFrame:
    """Add the columns that every table of pictures has, and the number of each row."""
    ids = rows[id_column].astype(str)
    nothing = pd.Series("", rows.index)
    path = rows["path"] if "path" in rows else rows.get("image_path", nothing)
    own: dict[str, Any] = {
        "picture_id": ids,
        "name": rows.get("name", ids).fillna(ids),
        "path": path.fillna("").astype(str),
        "offset": _count_bytes(rows, "offset"),
        "length": _count_bytes(rows, "length"),
        "sha256": rows.get("sha256", nothing).fillna(""),
        "row#": np.arange(first, first + len(rows)),
    }
    return rows.assign(**own)


def _count_bytes(rows: pd.DataFrame, name: str) -> pd.Series:
    """Return a column of bytes; 0 where nobody says."""
    return rows.get(name, pd.Series(0, rows.index)).fillna(0).astype("int64")
