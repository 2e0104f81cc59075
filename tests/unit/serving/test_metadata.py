"""What the pictures' own columns become in an answer: JSON."""

import pandas as pd

from compodiff.serving.champion import Metadata


def test_columns_become_what_json_has() -> None:
    table = pd.DataFrame({
        "taken": pd.to_datetime(["2026-11-27 09:30", None]),
        "width": [1.5, float("inf")],
        "place": ["Oslo", None],
        "year": pd.Series([2026, None], dtype="Int64"),
        "day": [pd.Period("2026-11-27"), None],
    })  # fmt: skip
    empty = dict.fromkeys(table.columns)
    first = {"taken": "2026-11-27T09:30:00", "width": 1.5, "place": "Oslo", "year": 2026, "day": "2026-11-27"}
    assert Metadata(table).read_rows([1, 0]) == [empty, first]
