"""Rows that wait on disk are read as they were written, and DuckDB finds which of all of them say the same."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from compodiff.storage.row_file import open_row_file

NAMES = st.one_of(st.none(), st.sampled_from(["a", "b", "Ab", "ab", ""]))


@given(st.lists(st.tuples(NAMES, NAMES, st.booleans()), min_size=1, max_size=40), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_the_rows_that_are_repeated_are_those_that_pandas_finds(tmp_path_factory, values, at_once):
    rows = pd.DataFrame(values, columns=["first", "second", "left_out"]).astype({"first": "str", "second": "str"})
    rows["row"] = np.arange(len(rows))
    folder = tmp_path_factory.mktemp("rows")
    with open_row_file(folder) as file:
        groups = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
        file.write(groups)
        repeated = file.find_repeated(["first", "second"])
        of_some = file.find_repeated(["second"], "not left_out")
        written = list(file.read())
    assert repeated.tolist() == rows.loc[rows.duplicated(["first", "second"], keep=False), "row"].tolist()
    some = rows[~rows["left_out"]]
    assert of_some.tolist() == some.loc[some.duplicated(["second"], keep=False), "row"].tolist()
    assert [len(group) for group in written] == [len(group) for group in groups]
    pd.testing.assert_frame_equal(pd.concat(written, ignore_index=True), rows)
    assert not list(folder.iterdir())
