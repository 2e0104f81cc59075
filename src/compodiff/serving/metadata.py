"""Rows of the pictures' table as JSON."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

_KNOWN_ELSEWHERE = frozenset(("picture_id", "name", "sha256", "offset", "length", "group"))


class Metadata:
    """What is known of the pictures of an index besides their ids and names, ready to be sent."""

    def __init__(self, table: pd.DataFrame) -> None:
        """Take the pictures' table; dates become ISO 8601, what is missing or not finite None."""
        self._columns = {
            str(name): _convert_column(table[name]) for name in table.columns if name not in _KNOWN_ELSEWHERE
        }

    def read_rows(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return the metadata of the pictures in `rows`."""
        return [{name: column[row] for name, column in self._columns.items()} for row in rows]


def _convert_column(column: pd.Series) -> list[Any]:
    if pd.api.types.is_datetime64_any_dtype(column):
        column = column.dt.strftime("%Y-%m-%dT%H:%M:%S")
    known = column.notna()
    if pd.api.types.is_float_dtype(column):
        known &= column.abs() != float("inf")
    values: list[Any] = column.astype(object).where(known, None).tolist()
    return [value if value is None or isinstance(value, bool | int | float | str) else str(value) for value in values]
