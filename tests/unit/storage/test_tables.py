"""Tables as parquet: the same rows are the same bytes, and what is missing or damaged is named."""

import pandas as pd
import pytest

from compodiff.errors import InputInvalid
from compodiff.storage.tables import read_table, write_table


def test_equal_rows_give_equal_bytes_whatever_their_index(tmp_path):
    rows = pd.DataFrame({"key": ["a", "b"]}, index=[7, 3])
    write_table(tmp_path / "a.parquet", rows)
    write_table(tmp_path / "b.parquet", rows.reset_index(drop=True))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert list(read_table(tmp_path / "a.parquet").columns) == ["key"]


def test_a_missing_or_damaged_table_names_its_remedy(tmp_path):
    with pytest.raises(InputInvalid, match=r"none\.parquet is not there; run: make cake"):
        read_table(tmp_path / "none.parquet", remedy="run: make cake")
    with pytest.raises(InputInvalid, match=r"none\.parquet is not there; run: dvc repro$"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "none.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputInvalid, match=r"none\.parquet is cut short or not parquet"):
        read_table(tmp_path / "none.parquet")
