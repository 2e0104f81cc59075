"""Read a set where it lies: a folder of this machine, or an address that fsspec opens (s3://bucket/set)."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from cachetools import LRUCache

from compodiff.errors import InputInvalid
from compodiff.images.files import is_regular
from compodiff.sets.addresses import explain_failures, is_address, join_address
from compodiff.sets.form import DESCRIPTION, OPTIONAL, SCHEMAS, WHOLE_FILE, Place, SetDescription, Shard
from compodiff.storage.digests import digest_bytes

_OPEN_FILES = 64
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class TrainingSet:
    """A set that is there.

    Attributes:
        address: of its folder.
        description: what its set.json says.
    """

    address: str
    description: SetDescription

    def read_rows(self, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of a shard, after checking that they are those that set.json seals.

        Args:
            shard: whose rows.
            columns: that are read; None: all.

        Raises:
            InputInvalid: the shard is missing, cut short, or another one.
        """
        where = join_address(self.address, shard.file)
        content = read_bytes(where)
        if digest_bytes(content) != shard.sha256:
            raise InputInvalid(f"{where} is not the shard that {DESCRIPTION} seals; make the set again")
        try:
            with pq.ParquetFile(pa.BufferReader(content)) as file:
                return self._read_columns(file, where, columns)
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            raise InputInvalid(f"{where} is damaged ({error}); make the set again") from error

    def _read_columns(self, file: pq.ParquetFile, where: str, columns: Sequence[str] | None) -> pa.Table:
        """Return columns of an opened shard; an optional one that it lacks is null."""
        schema, optional = (of_kind[self.description.kind] for of_kind in (SCHEMAS, OPTIONAL))
        names = file.schema_arrow.names
        lacking = [field for field in optional if field.name not in names]
        whole = [*schema.names, *optional.names]
        if [*names, *(field.name for field in lacking)] != whole:
            raise InputInvalid(f"{where} has the columns {', '.join(names)}, not {', '.join(whole)}")
        asked = whole if columns is None else list(columns)
        table = file.read([name for name in asked if name in names])
        for field in lacking:
            if field.name in asked:
                table = table.append_column(field, pa.nulls(len(table), field.type))
        return table

    def iterate_rows(self) -> Iterator[dict[str, Any]]:
        """Yield all rows, in order; one shard is in memory at a time."""
        for shard in self.description.shards:
            for batch in self.read_rows(shard).to_batches(_ROWS_AT_ONCE):
                yield from batch.to_pylist()

    @cached_property
    def places(self) -> "PlaceReader":
        """Return what reads the pictures."""
        return PlaceReader(self.address)


def open_set(address: str | Path) -> TrainingSet:
    """Open the set in a folder, or at an address; its set.json may be named as well.

    Raises:
        InputInvalid: there is no set.
        ResourceUnavailable: the address cannot be reached.
    """
    folder = str(address).removesuffix(f"/{DESCRIPTION}")
    where = join_address(folder, DESCRIPTION)
    try:
        content = json.loads(read_bytes(where))
    except ValueError as error:
        raise InputInvalid(f"{where} is damaged ({error}); make the set again") from error
    description = SetDescription.from_json(content, where)
    return TrainingSet(join_address(folder, description.at) if description.at else folder, description)


class PlaceReader:
    """Reads the bytes of pictures; keeps a few files open, as neighbouring rows lie in one tar."""

    def __init__(self, folder: str) -> None:
        """Read places, whose files count from `folder`, a path or an address."""
        self._folder = folder
        self._files: LRUCache[str, int] = _Descriptors(_OPEN_FILES)

    def read(self, place: Place) -> bytes:
        """Read a picture's bytes.

        Raises:
            InputInvalid: its file is not there, or ends before the picture does.
            ResourceUnavailable: the address cannot be reached.
        """
        where = join_address(self._folder, place.file)
        if is_address(where):
            end = None if place.length == WHOLE_FILE else place.offset + place.length
            content = _fetch(where, lambda fs, path: fs.cat_file(path, start=place.offset or None, end=end))
        elif place.length == WHOLE_FILE:
            content = read_bytes(where)
        else:
            content = os.pread(self._open(where), place.length, place.offset)
        if place.length not in (WHOLE_FILE, len(content)):
            raise InputInvalid(f"{where} is cut short: {place.name} needs {place.length} bytes at {place.offset}")
        return content

    def _open(self, path: str) -> int:
        if path not in self._files:
            if not is_regular(Path(path)):
                raise InputInvalid(f"{path} is not there, or is no file; the set's pictures were moved")
            try:
                self._files[path] = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise InputInvalid(f"{path} cannot be read: {error.strerror}") from error
        return self._files[path]


class _Descriptors(LRUCache[str, int]):
    """Open files by path; the one not used for longest is closed where another one comes."""

    def popitem(self) -> tuple[str, int]:
        """Close the file that goes."""
        path, descriptor = super().popitem()
        os.close(descriptor)
        return path, descriptor


def read_bytes(where: str) -> bytes:
    """Read a whole file of a path or an address.

    Raises:
        InputInvalid: it is not there.
        ResourceUnavailable: the address cannot be reached.
    """
    if is_address(where):
        return _fetch(where, lambda fs, path: fs.cat_file(path))
    if not is_regular(Path(where)):
        raise InputInvalid(f"{where} is not there, or is no file; make the set again, or name where it is")
    try:
        return Path(where).read_bytes()
    except OSError as error:
        raise InputInvalid(f"{where} cannot be read: {error.strerror}") from error


def _fetch(address: str, read: Callable[[Any, str], bytes]) -> bytes:
    """Read from an address.

    Raises:
        InputInvalid: nothing is there, or fsspec knows no such kind of address.
        ResourceUnavailable: it cannot be reached, or asks for credentials that are missing or wrong.
    """
    import fsspec  # type: ignore[import-untyped]

    with explain_failures(address):
        fs, path = fsspec.core.url_to_fs(address)
        return bytes(read(fs, path))
