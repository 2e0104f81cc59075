"""Lists of rows whose pictures lie elsewhere: JSON lines, JSON arrays, CSV and TSV, packed by gzip or not.

The list is read once, as a stream, in the process that plans; workers parse its rows and look for the pictures.
"""

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import ijson  # type: ignore[import-untyped]

from compodiff.errors import InputInvalid
from compodiff.interchange.faults import BAD_NAME, BAD_TEXT, DAMAGED_FILE, NOT_JSON, Fault
from compodiff.interchange.records import RawRow
from compodiff.interchange.texts import has_undecoded
from compodiff.sets.addresses import is_file, open_binary
from compodiff.storage.json_files import parse_json

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
ROWS_PER_UNIT = 10_000
_DELIMITERS = ",\t|;"
_MARK = "\ufeff"
_LONGEST_CELL = 2**24  # characters
Listed = bytes | Mapping[str, Any] | Fault  # a line of JSON, a row, or what is wrong with it

csv.field_size_limit(_LONGEST_CELL)


@dataclass(frozen=True)
class ListUnit:
    """Some rows of a list.

    Attributes:
        path: of the list.
        name: of the list, for keys.
        split: that its name says.
        first: number of the first row, from 1.
        rows: as they were read.
    """

    path: Path
    name: str
    split: str
    first: int
    rows: tuple[Listed, ...]

    def read(self, others: Counter[str]) -> Iterator[RawRow | Fault]:
        """Yield the rows."""
        for number, row in enumerate(self.rows, start=self.first):
            where = f"{self.path}: row {number}"
            try:
                values = _parse_row(row, where)
            except Fault as fault:
                yield fault
                continue
            yield RawRow(where, f"{self.name}-{number:08d}", self.split, values)


def cut_list(rows: Iterable[Listed], path: Path, name: str, split: str) -> Iterator[ListUnit]:
    """Yield units of a list as it is read; what cuts it short is the last row."""
    number, stream = 1, _end_with_fault(rows)
    while held := tuple(islice(stream, ROWS_PER_UNIT)):
        yield ListUnit(path, name, split, number, held)
        number += len(held)


def list_manifests(folder: Path) -> list[Path]:
    """Return the lists that lie in a folder, not below it, in order; or the one that is named."""
    if folder.is_dir():
        return sorted(path for path in folder.iterdir() if _suffix(path) in SUFFIXES and is_file(path))
    return [folder] if _suffix(folder) in SUFFIXES and is_file(folder) else []


def read_list(path: Path) -> Iterator[Listed]:
    """Yield the rows of a list.

    Raises:
        Fault: the file breaks off, or is no such list.
    """
    suffix = _suffix(path)
    if suffix in (".csv", ".tsv"):
        yield from _read_csv(path)
    elif suffix == ".json":
        yield from _read_json_list(path)
    else:
        with open_list(path) as lines:
            for number, line in enumerate(lines):
                if content := (line.removeprefix(_MARK.encode()) if not number else line).strip():
                    yield content


def read_json_items(path: Path, prefix: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of an array in a JSON file ("item" at its top, "images.item" of an object), one by one.

    Raises:
        Fault: it is no JSON, breaks off, or the array holds something else.
    """
    with open_list(path) as file:
        try:
            for item in ijson.items(_SkipMark(file), prefix, use_float=True):
                if not isinstance(item, dict):
                    raise Fault(NOT_JSON, f"{path}: an entry is {str(item)[:40]!r}, not an object")
                yield item
        except (ijson.JSONError, ValueError, RecursionError) as error:
            raise Fault(NOT_JSON, f"{path} is not JSON, or cut short: {' '.join(str(error).split())[:200]}") from error


class open_list:
    """Open a list, unpacked; what goes wrong while it is read is a fault that names it."""

    def __init__(self, path: Path) -> None:
        """`path`: of the list."""
        self._path = path

    def __enter__(self) -> BinaryIO:
        """Open it."""
        try:
            self._below = open_binary(self._path)
        except OSError as error:
            raise Fault(DAMAGED_FILE, f"{self._path} cannot be read: {error.strerror}") from error
        is_packed = self._path.suffix == ".gz"
        self._file = cast(BinaryIO, gzip.open(self._below)) if is_packed else self._below
        return self._file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Close it.

        Raises:
            Fault: the file breaks off.
        """
        self._file.close()
        self._below.close()
        if isinstance(error, (OSError, EOFError, zlib.error, csv.Error, UnicodeError)):
            raise Fault(DAMAGED_FILE, f"{self._path} is cut short or damaged ({error}); fetch it again") from error


def tell_delimiter(line: str) -> str:
    """Return what stands between the columns of a line."""
    return max(_DELIMITERS, key=line.count)


def _read_json_list(path: Path) -> Iterator[Listed]:
    there = False
    try:
        for item in read_json_items(path, "item"):
            there = True
            yield item
    except Fault as fault:
        hint = "" if there else "; if it has one object a line, name it .jsonl"
        raise Fault(fault.kind, f"{fault}{hint}") from fault
    if not there:
        raise Fault(NOT_JSON, f"{path} is not a list of objects, or an empty one; write the list alone, or JSON lines")


def _read_csv(path: Path) -> Iterator[Listed]:
    with open_list(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        head = text.readline()
        if has_undecoded(head):
            raise Fault(BAD_TEXT, f"{path} is not UTF-8 text; save it as UTF-8")
        delimiter = "\t" if path.name.removesuffix(".gz").endswith(".tsv") else tell_delimiter(head)
        names = next(csv.reader([head], delimiter=delimiter), [])
        if repeated := [name for place, name in enumerate(names) if name and name in names[:place]]:
            raise Fault(BAD_NAME, f"{path} has the column {repeated[0]!r} twice; rename one")
        for row in csv.reader(text, delimiter=delimiter):
            if row and len(row) != len(names):
                said = f"{path}: a row of {len(row)} columns below a head of {len(names)}: {row[0][:60]!r}"
                yield Fault(DAMAGED_FILE, said)
            elif has_undecoded("".join(row)):
                yield Fault(BAD_TEXT, f"{path}: a row is not UTF-8 text: {row[0][:60]!r}; save the file as UTF-8")
            elif row:
                yield dict(zip(names, row, strict=True))


def _parse_row(row: Listed, where: str) -> Mapping[str, Any]:
    if isinstance(row, Fault):
        raise row
    if isinstance(row, Mapping):
        return row
    try:
        parsed = parse_json(row, where)
    except InputInvalid as error:
        raise Fault(NOT_JSON, str(error)) from error
    if not isinstance(parsed, dict):
        raise Fault(NOT_JSON, f"{where} is no JSON object")
    return parsed


def _end_with_fault(rows: Iterable[Listed]) -> Iterator[Listed]:
    try:
        yield from rows
    except Fault as fault:
        yield fault


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


class _SkipMark:
    """A binary file without its byte-order mark."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._is_start = True

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        if self._is_start and size:
            self._is_start = False
            return content.removeprefix(_MARK.encode()) or (self._file.read(size) if content else b"")
        return content
