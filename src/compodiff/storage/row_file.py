"""All rows of a set in one file while they are judged: written and read a group at a time, and asked as a whole.

What needs all rows at once, such as which of them say the same, is a query of DuckDB's over the file, which spills to
disk: memory does not grow with the set.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from compodiff.storage.scratch import open_scratch
from compodiff.storage.tables import open_frame_writer

_MEMORY = "128MB"  # beyond it, DuckDB spills
# Hashes find the few rows that may be equal; only of these are the values themselves compared.
_REPEATED = """
WITH rows AS (SELECT row, {columns}, hash({columns}) AS hashed FROM read_parquet($path) WHERE {which}),
     suspects AS (SELECT hashed FROM rows GROUP BY hashed HAVING count(*) > 1)
SELECT row FROM (
    SELECT row, count(*) OVER (PARTITION BY {columns}) AS alike FROM rows WHERE hashed IN (SELECT hashed FROM suspects)
) WHERE alike > 1 ORDER BY row
"""


class RowFile:
    """A file of rows; each has a number, in the column `row`."""

    def __init__(self, folder: Path) -> None:
        """`folder`: for the file, and for what is spilled."""
        self._folder, self._path = folder, folder / "rows.parquet"

    def write(self, groups: Iterable[pd.DataFrame]) -> None:
        """Write rows, some at a time; each group has the columns of the first one."""
        with open_frame_writer(self._path) as append:
            for group in groups:
                append(group)

    def read(self) -> Iterator[pd.DataFrame]:
        """Yield the rows as they were written, each group by itself."""
        with pq.ParquetFile(self._path) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number).to_pandas()

    def find_repeated(self, columns: Sequence[str], which: str = "true") -> NDArray[np.int64]:
        """Return the numbers of the rows whose `columns` another row has as well, in order; nulls are equal.

        Args:
            columns: names.
            which: a condition of SQL; the other rows are passed over.
        """
        import duckdb

        config: dict[str, Any] = {"temp_directory": str(self._folder / "spilled"), "memory_limit": _MEMORY}
        with duckdb.connect(":memory:", config=config) as database:
            query = _REPEATED.format(columns=", ".join(columns), which=which)
            found = database.execute(query, {"path": str(self._path)}).fetchnumpy()["row"]
        return np.asarray(found, np.int64)


@contextmanager
def open_row_file(beside: Path) -> Iterator[RowFile]:
    """Yield a file of rows in a hidden folder in `beside`, which is deleted when the block ends."""
    with open_scratch(beside) as folder:
        yield RowFile(folder)
