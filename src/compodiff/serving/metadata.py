"""A row of the pictures' table as JSON."""

import datetime
from typing import Any

import numpy as np
import pandas as pd

_KNOWN_ELSEWHERE = frozenset(("picture_id", "name", "sha256", "offset", "length", "group"))


def described(table: pd.DataFrame, row: int) -> dict[str, Any]:
    """What is known of the picture in `row`, besides its id and name."""
    values = {str(name): table[name].iloc[row] for name in table.columns if name not in _KNOWN_ELSEWHERE}
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, datetime.datetime | datetime.date):
        return None if pd.isna(value) else value.isoformat()
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return None if value is None else str(value)
