"""Pairs of near-duplicates of an index of any size, found by the index's own search: never all pairs, never in memory.

Shapes: N rows, B rows of a batch, D embedding width, k neighbours.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from tqdm import tqdm

from compodiff.index.index import NO_PICTURE, Index
from compodiff.storage.ownership import require_replaceable_file
from compodiff.storage.tables import open_table_writer

KIND = "pairs of near-duplicates"
COLUMNS = {"picture_id": str, "other_id": str, "cosine": float}
_AT_ONCE = 256  # rows that are searched for
Pair = tuple[int, int, float]  # two rows, the lower first, and their cosine


def write_near_pairs(index: Index, to: Path, *, least_cosine: float, neighbours: int) -> dict[str, int]:
    """Write the pairs of pictures whose cosine is `least_cosine` or more, each once, in the order of rows.

    Each row is searched for in the index, and of its `neighbours` nearest those that are near enough are its pairs.
    What the index's search does not find is not there.

    Returns:
        pairs; full: pictures of which all neighbours are that near, so that there may be more.

    Raises:
        InputInvalid: `to` is somebody's.
        ResourceUnavailable: the disk is full.
    """
    require_replaceable_file(to, KIND)
    full = 0
    with closing(sqlite3.connect("", isolation_level=None)) as found:  # a file of its own once it is large
        found.execute("CREATE TABLE pairs (one, other, cosine, PRIMARY KEY (one, other)) WITHOUT ROWID")
        found.execute("BEGIN")
        rows = index.list_rows()
        with tqdm(total=len(rows), desc="comparing", unit=" pictures", disable=None) as bar:
            for start in range(0, len(rows), _AT_ONCE):
                batch = rows[start : start + _AT_ONCE]
                pairs, more = _find_pairs(index, batch, least_cosine, neighbours)
                found.executemany("INSERT OR IGNORE INTO pairs VALUES (?, ?, ?)", pairs)
                full += more
                bar.update(len(batch))
        with open_table_writer(to, COLUMNS, KIND) as table:
            for one, other, cosine in found.execute("SELECT one, other, cosine FROM pairs ORDER BY one, other"):
                ids = (index.picture_ids[one], index.picture_ids[other])
                table.add({"picture_id": ids[0], "other_id": ids[1], "cosine": cosine})
            return {"pairs": table.rows, "full": full}


def _find_pairs(index: Index, rows: Sequence[int], least_cosine: float, neighbours: int) -> tuple[Iterator[Pair], int]:
    """Return the pairs of some rows, and how many of these have near-duplicates only among their neighbours."""
    own = np.array(rows, np.int64)
    others, cosines = index.search(index.embeddings[own], neighbours + 1)  # (B, k + 1): a row finds itself, too
    near = (cosines >= least_cosine) & (others != NO_PICTURE) & (others != own[:, None])  # (B, k + 1)
    at, place = np.nonzero(near)
    ones, twos = own[at], others[at, place]
    low, high = np.minimum(ones, twos), np.maximum(ones, twos)
    full = int((near.sum(axis=1) >= neighbours).sum())
    return zip(low.tolist(), high.tolist(), cosines[at, place].tolist(), strict=True), full
