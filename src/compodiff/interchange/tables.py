"""Hugging Face parquet: pictures as struct{bytes, path}, which `datasets.load_dataset("parquet")` shows as pictures.

The only module of this room that knows pyarrow. A row group is a unit of work: it is what a worker holds in memory.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from compodiff.errors import InputInvalid
from compodiff.images.files import is_regular
from compodiff.interchange.records import Record, find_roles, record_of
from compodiff.storage.atomic import replace_path

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_PICTURES = ("reference_image", "target_image", "mask_image")
_HELD = 64  # rows of a row group that are turned into Python objects at a time


def list_tables(folder: Path) -> list[Path]:
    """The parquet files of a folder, at any depth, in order."""
    return sorted(path for path in folder.rglob("*.parquet") if is_regular(path))


def count_row_groups(path: Path) -> int:
    """How many row groups a file has.

    Raises:
        InputInvalid: it is cut short or not parquet.
    """
    with _open_table(path) as file:
        return int(file.num_row_groups)


def read_row_group(path: Path, group: int, chosen: Mapping[str, str]) -> Iterator[Record]:
    """Yield the triplets of a row group.

    Raises:
        InputInvalid: the file is damaged, has no column for a role, or a row lacks a picture or a caption.
    """
    with _open_table(path) as file:
        roles = find_roles([name for name in file.schema_arrow.names], chosen, str(path))
        number = sum(file.metadata.row_group(before).num_rows for before in range(group))
        try:
            for batch in file.iter_batches(_HELD, row_groups=[group]):
                for row in batch.to_pylist():
                    name = f"{path}: row {number}"
                    pictures = {role: _read_content(row.get(roles.get(role)), f"{name}, {role}") for role in _PICTURES}
                    yield record_of(row, roles, pictures, name)
                    number += 1
        except (pa.ArrowInvalid, OSError) as error:
            raise InputInvalid(f"{path} is damaged after row {number} ({error}); fetch it again") from error


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Write rows as one row group, whole or not at all.

    Args:
        path: of the file.
        rows: column -> value; a picture is its file's content, or None.
        columns: column -> kind: image, string, float32 or bool.
    """
    kinds = {"image": _IMAGE, "string": pa.string(), "float32": pa.float32(), "bool": pa.bool_()}
    features = {
        name: {"_type": "Image"} if kind == "image" else {"dtype": kind, "_type": "Value"}
        for name, kind in columns.items()
    }
    schema = pa.schema(
        [(name, kinds[kind]) for name, kind in columns.items()],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    images = [name for name, kind in columns.items() if kind == "image"]
    values = [{**row, **{name: _describe_cell(row[name], name) for name in images}} for row in rows]
    with replace_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(values, schema=schema), temporary, row_group_size=max(1, len(values)))


def _describe_cell(content: bytes | None, name: str) -> dict[str, Any] | None:
    return None if content is None else {"bytes": content, "path": f"{name}.png"}


def _read_content(cell: Any, where: str) -> bytes | None:
    """A picture's file out of a cell: struct{bytes, path}, binary, or base64.

    Raises:
        InputInvalid: the cell has a path only, or is none of these.
    """
    if isinstance(cell, Mapping):
        if cell.get("bytes") is None and cell.get("path"):
            raise InputInvalid(f"{where} is only a path ({cell['path']}); export the set with its pictures inside")
        cell = cell.get("bytes")
    if cell is None or isinstance(cell, bytes):
        return cell
    try:
        return base64.b64decode(str(cell), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputInvalid(f"{where} is no picture but {str(cell)[:40]!r}; name its column with --column") from error


def _open_table(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputInvalid(f"{path} is cut short or not parquet ({error}); fetch it again") from error
