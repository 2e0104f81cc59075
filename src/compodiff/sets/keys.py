"""Keys of a whole set, out of core: which stand in two rows, and a set without the later one."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from compodiff.storage.atomic import replace_path
from compodiff.storage.scratch import open_scratch

_REPEATED = "SELECT key FROM keys GROUP BY key HAVING count(*) > 1 ORDER BY key LIMIT 3"
_LATER = (
    "SELECT shard, row FROM (SELECT shard, row, row_number() OVER (PARTITION BY key ORDER BY shard, row) AS nth"
    " FROM keys) WHERE nth > 1 ORDER BY shard, row"
)


def find_repeated_keys(shards: Sequence[Path]) -> list[tuple[str, list[str]]]:
    """Return a few keys that stand in two rows, in order, each with the files of these rows.

    Args:
        shards: parquet files of a set's rows.
    """
    keys = _query(shards, _REPEATED)
    found: dict[str, list[str]] = {key: [] for key in keys.column("key").to_pylist()}
    for path in shards if found else ():
        for key in pq.read_table(path, columns=["key"]).column("key").to_pylist():
            if key in found:
                found[key].append(path.name)
    return [*found.items()]


def drop_repeated_keys(shards: Sequence[Path]) -> int:
    """Write the shards that hold a key which stands further up anew, without those rows; return how many went."""
    drops = _query(shards, _LATER)
    of_shard: dict[int, set[int]] = {}
    for shard, row in zip(drops.column("shard").to_pylist(), drops.column("row").to_pylist(), strict=True):
        of_shard.setdefault(shard, set()).add(row)
    for shard, gone in of_shard.items():
        table = pq.read_table(shards[shard])
        kept = table.filter(pa.array([row not in gone for row in range(table.num_rows)]))
        with replace_path(shards[shard]) as temporary:
            pq.write_table(kept, temporary)
    return len(drops)


def _query(shards: Sequence[Path], query: str) -> pa.Table:
    """Answer a query over the table keys(key, shard, row), which is read once and spilled to disk where it is large."""
    import duckdb

    schema = pa.schema([("key", pa.string()), ("shard", pa.int32()), ("row", pa.int64())])
    with open_scratch() as spilled:
        config: dict[str, Any] = {
            "temp_directory": str(spilled),
            "memory_limit": "512MB",
            "preserve_insertion_order": "false",
        }
        with duckdb.connect(":memory:", config=config) as database:
            database.register("keys", pa.RecordBatchReader.from_batches(schema, _read_keys(shards, schema)))
            answer: pa.Table = database.sql(query).to_arrow_table()
            return answer


def _read_keys(shards: Sequence[Path], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for number, path in enumerate(shards):
        row = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["key"]):
                at = pa.array(range(row, row + batch.num_rows), pa.int64())
                row += batch.num_rows
                shard = pa.array([number] * batch.num_rows, pa.int32())
                yield pa.RecordBatch.from_arrays([batch.column(0), shard, at], schema=schema)
