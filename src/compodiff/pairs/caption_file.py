"""Caption pairs in a parquet file: what `compodiff captions` writes and a generator of pictures reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from compodiff.errors import InputInvalid
from compodiff.pairs.pair import CaptionPair
from compodiff.storage.tables import TableWriter, open_table_writer, read_rows

COLUMNS = tuple(field.name for field in fields(CaptionPair))
SPLITS = ("train", "validation")
KIND = "caption pairs"


class PairWriter:
    """Appends caption pairs to a table, and gives them their keys."""

    def __init__(self, table: TableWriter, prefix: str) -> None:
        self._table = table
        self._prefix = prefix

    @property
    def written(self) -> int:
        """How many pairs so far."""
        return self._table.rows

    def make_key(self) -> str:
        """Return the key of the next pair: unique in the dataset as long as every command has its own prefix."""
        return f"{self._prefix}-{self._table.rows:09d}"

    def add(self, pair: CaptionPair) -> None:
        """Append a pair."""
        self._table.add(asdict(pair))


@contextmanager
def open_pair_writer(path: Path, prefix: str) -> Iterator[PairWriter]:
    """Yield a writer of caption pairs; when the block ends well they appear under `path`."""
    with open_table_writer(path, dict.fromkeys(COLUMNS, str), KIND) as table:
        yield PairWriter(table, prefix)


def read_caption_pairs(path: Path) -> Iterator[CaptionPair]:
    """Yield the caption pairs of a parquet file, in its order and in bounded memory.

    Raises:
        InputInvalid: the file is missing, damaged or lacks a column; a row is empty somewhere, changes nothing, has a
            key with a dot, an unknown split, or a keyword that its target caption does not contain.
    """
    for number, row in enumerate(read_rows(path, COLUMNS, remedy="write it with: compodiff captions"), start=1):
        fault = _describe_fault(row)
        if fault:
            raise InputInvalid(f"{path}, row {number}: {fault}; mend it or leave it out")
        yield CaptionPair(**row | {"keyword": row["keyword"] or ""})


def _describe_fault(row: dict[str, Any]) -> str:
    # Of a pair that a language model wrote no keyword is known.
    empty = [name for name in COLUMNS if name != "keyword" and not str(row[name] or "").strip()]
    keyword = row["keyword"] or ""
    if empty:
        return f"no {', '.join(empty)}"
    if "." in row["key"]:
        return f"the key {row['key']!r} has a dot"
    if row["split"] not in SPLITS:
        return f"the split {row['split']!r} is none of {', '.join(SPLITS)}"
    if row["reference_caption"] == row["target_caption"]:
        return f"{row['target_caption']!r} is the caption of both pictures"
    if keyword.lower() not in row["target_caption"].lower():
        return f"the keyword {keyword!r} is missing in the target caption {row['target_caption']!r}"
    return ""
