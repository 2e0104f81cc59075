"""Hugging Face parquet: pictures as struct{bytes, path}, which `datasets.load_dataset("parquet")` shows as pictures.

The only module of this room that knows pyarrow.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from compodiff.errors import InputInvalid
from compodiff.interchange.faults import DAMAGED_FILE, Fault
from compodiff.interchange.records import RawRow
from compodiff.sets.addresses import is_address, is_file, open_binary
from compodiff.storage.atomic import replace_path

_HELD = 64  # rows of a row group that are turned into Python objects at a time
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_KINDS = {
    "image": _IMAGE,
    "images": pa.list_(_IMAGE),
    "string": pa.string(),
    "strings": pa.list_(pa.string()),
}
_FEATURES: dict[str, Any] = {
    "image": {"_type": "Image"},
    "images": [{"_type": "Image"}],
    "string": {"dtype": "string", "_type": "Value"},
    "strings": [{"dtype": "string", "_type": "Value"}],
}


@dataclass(frozen=True)
class TableUnit:
    """Some row groups of a parquet file.

    Attributes:
        path: of the file.
        name: of the file, from the folder that is imported.
        split: that its name says.
        first: row group.
        last: row group, exclusive.
        row: number of the first row in the file.
    """

    path: Path
    name: str
    split: str
    first: int
    last: int
    row: int

    def read(self, others: Counter[str]) -> Iterator[RawRow | Fault]:
        """Yield the rows.

        Raises:
            Fault: the file is damaged.
        """
        stem, number = self.name.removesuffix(".parquet"), self.row
        with open_table(self.path) as file:
            try:
                columns = [field.name for field in file.schema_arrow if not pa.types.is_temporal(field.type)]
                for batch in file.iter_batches(_HELD, row_groups=[*range(self.first, self.last)], columns=columns):
                    for values in batch.to_pylist():
                        yield RawRow(f"{self.path}: row {number}", f"{stem}-{number:06d}", self.split, values)
                        number += 1
            except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
                message = f"{self.path} is damaged after row {number} ({_line(error)}); fetch it again"
                raise Fault(DAMAGED_FILE, message) from error


def list_tables(folder: Path) -> list[Path]:
    """Return the parquet files of a folder, at any depth, in order; or the one that is named."""
    if folder.suffix == ".parquet" and is_file(folder):
        return [folder]
    return sorted(path for path in folder.rglob("*.parquet") if is_file(path))


def cut_table(path: Path, name: str, split: str, rows: int) -> Iterator[TableUnit]:
    """Yield units of whole row groups, each of at least `rows` rows but the last.

    A file that cannot be opened is one unit, which says so when it is read.
    """
    try:
        with open_table(path) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except Fault:
        sizes = [0]
    first, start, held = 0, 0, 0
    for group, size in enumerate(sizes, start=1):
        held += size
        if held >= rows or group == len(sizes):
            yield TableUnit(path, name, split, first, group, start)
            first, start, held = group, start + held, 0


def table_columns(path: Path) -> list[str]:
    """Return the columns of a parquet file; none where it cannot be opened."""
    try:
        with open_table(path) as file:
            return list(file.schema_arrow.names)
    except Fault:
        return []


def count_table_rows(path: Path) -> int:
    """Return how many rows a parquet file has.

    Raises:
        Fault: it is damaged.
    """
    with open_table(path) as file:
        return int(file.metadata.num_rows)


def count_failures(path: Path) -> int:
    """Return how many rows of the table that img2dataset writes beside a tar have another status than success."""
    if not is_file(path) or "status" not in table_columns(path):
        return 0
    failed = 0
    with open_table(path) as file:
        for batch in file.iter_batches(columns=["status"]):
            failed += len(batch) - (pc.sum(pc.equal(batch.column(0), "success")).as_py() or 0)
    return failed


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> int:
    """Write rows, whole or not at all; return how many.

    Args:
        path: of the file.
        rows: column -> value; a picture is (bytes, path).
        columns: column -> kind: image, images, string or strings.
    """
    features = {name: _FEATURES[kind] for name, kind in columns.items()}
    schema = pa.schema(
        [(name, _KINDS[kind]) for name, kind in columns.items()],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    count, held = 0, list[Mapping[str, Any]]()
    with replace_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for row in rows:
            held.append(row)
            count += 1
            if len(held) == _HELD:
                writer.write_table(pa.Table.from_pylist(held, schema=schema))
                held = []
        if held:
            writer.write_table(pa.Table.from_pylist(held, schema=schema))
    return count


def read_accepted(path: Path, shard: str) -> frozenset[str]:
    """Return the keys of a set's shard that validation accepted.

    Raises:
        InputInvalid: the table is missing or damaged, or none of validation's.
    """
    wanted = [("shard", "==", shard), ("accepted", "==", True)]
    try:
        return frozenset(pq.read_table(path, columns=["key"], filters=wanted).column("key").to_pylist())
    except (pa.ArrowException, OSError) as error:
        raise InputInvalid(
            f"{path} is no table of validation's ({_line(error)}); name artifacts/validation/NAME"
        ) from error


@contextmanager
def open_table(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a parquet file.

    Raises:
        Fault: it is cut short, or no parquet.
    """
    with ExitStack() as opened:
        file = opened.enter_context(open_binary(path)) if is_address(str(path)) else path
        try:
            table = opened.enter_context(pq.ParquetFile(file))
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            raise Fault(DAMAGED_FILE, f"{path} is cut short or not parquet ({_line(error)}); fetch it again") from error
        yield table


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
