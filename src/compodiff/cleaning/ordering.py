"""The rows of a survey in a database on disk: their order, groups and names, without a list of them in memory.

The only module of this room that knows DuckDB.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compodiff.storage.scratch import open_scratch
from compodiff.storage.tables import open_table_writer

_MEMORY = "128MB"  # of the database; what is more is spilled
_AT_ONCE = 8192  # rows of an answer
_NUMBERED = {"row": int, "rejected_by": str, "picture": str, "twin": int, "match": str, "cosine": float}
NAMED = {"key": str, "rejected_by": str, "picture": str, "match": str, "cosine": float}
NO_TWIN = -1

# Rows that ask for the same; smallest key first, as of near-duplicates the first one is kept.
_GROUPS = (
    "SELECT row, asks FROM rows WHERE asks IN (SELECT asks FROM rows GROUP BY asks HAVING count(*) > 1)"
    " ORDER BY asks, key"
)
_ONE_GROUP = "SELECT row, '' FROM rows ORDER BY key"
_REPEATED = "SELECT key FROM rows GROUP BY key HAVING count(*) > 1 ORDER BY key LIMIT 1"
_NAME = (
    "SELECT own.key, found.rejected_by, found.picture, coalesce(twin.key, found.match), found.cosine"
    " FROM read_parquet(?, file_row_number = true) found JOIN rows own ON own.row = found.row"
    " LEFT JOIN rows twin ON twin.row = found.twin ORDER BY found.file_row_number"
)
_COUNT = (
    "SELECT rejected_by, count(*) FROM (SELECT DISTINCT row, rejected_by FROM read_parquet(?))"
    " GROUP BY rejected_by ORDER BY rejected_by"
)
Finding = tuple[int, str, str, int, str, float]  # as _NUMBERED


class Rows:
    """The rows of a survey, by their numbers."""

    def __init__(self, database: Any, folder: Path) -> None:
        """Take the database of `open_rows`, and a folder for what is written between two questions."""
        self._database, self._findings = database, folder / "findings.parquet"

    def find_repeated_key(self) -> str | None:
        """Return the first key that stands in two rows, None for none."""
        found = self._database.execute(_REPEATED).fetchone()
        return None if found is None else str(found[0])

    def iterate_lost(self) -> Iterator[Finding]:
        """Yield the rows that cannot be kept for one of their pictures, and why."""
        for row, picture, why in self._iterate("SELECT row, picture, why FROM lost ORDER BY row, picture"):
            yield row, why, picture, NO_TWIN, "", np.nan

    def iterate_groups(self, *, any_caption: bool) -> Iterator[NDArray[np.int64]]:
        """Yield the rows (T,) of each group that is compared: what asks for the same, or all of them."""
        rows = self._iterate(_ONE_GROUP if any_caption else _GROUPS)
        for _, own in groupby(rows, key=itemgetter(1)):
            yield np.fromiter((row for row, _ in own), np.int64)

    def name_findings(self, findings: Iterator[Finding], to: Path) -> dict[str, int]:
        """Write findings, in their order, with keys for the numbers of rows; return how many rows each reason has."""
        with open_table_writer(self._findings, _NUMBERED) as numbered:
            for finding in findings:
                numbered.add(dict(zip(_NUMBERED, finding, strict=True)))
        with open_table_writer(to, NAMED) as named:
            for row in self._iterate(_NAME, str(self._findings)):
                named.add(dict(zip(NAMED, row, strict=True)))
        return {str(why): int(count) for why, count in self._iterate(_COUNT, str(self._findings))}

    def _iterate(self, query: str, *values: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of an answer; another question waits until it was read."""
        answer = self._database.execute(query, values)
        while rows := answer.fetchmany(_AT_ONCE):
            yield from rows


@contextmanager
def open_rows(tables: Sequence[tuple[int, Path]], ends: Sequence[str]) -> Iterator[Rows]:
    """Yield the rows of a survey.

    Args:
        tables: facts of each shard (`survey.py`), with the number of its first row.
        ends: names of a row's pictures.
    """
    import duckdb

    with open_scratch() as folder:
        config: dict[str, Any] = {"temp_directory": f"{folder}/spilled", "memory_limit": _MEMORY, "threads": 1}
        with duckdb.connect(f"{folder}/rows.duckdb", config=config) as database:
            database.execute("CREATE TABLE rows (row BIGINT, key VARCHAR, asks VARCHAR)")
            database.execute("CREATE TABLE lost (row BIGINT, picture VARCHAR, why VARCHAR)")
            source = "FROM read_parquet(?, file_row_number = true)"
            for first, path in tables:
                database.execute(f"INSERT INTO rows SELECT ? + file_row_number, key, asks {source}", (first, str(path)))
                for end in ends:
                    lost = f"INSERT INTO lost SELECT ? + file_row_number, ?, lost_{end} {source} WHERE lost_{end} <> ''"
                    database.execute(lost, (first, end, str(path)))
            yield Rows(database, folder)
