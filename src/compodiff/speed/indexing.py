"""What an index at size costs: building, opening, searching, growing, over vectors that are made for it.

Each step runs in a process of its own, so that its memory is its own. Shapes: N vectors, D width, B queries.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compodiff.encoders import EncoderManifest
from compodiff.index.index import Index
from compodiff.index.nearest import Floats, Rows, normalise
from compodiff.index.segments.building import SegmentPlan, add_segment, build_segments
from compodiff.index.segments.lists import find_exactly
from compodiff.index.segments.opened import open_stored
from compodiff.index.segments.sources import list_shards
from compodiff.speed.apart import Cost, measure, run_apart
from compodiff.speed.figures import Figure
from compodiff.speed.vectors import draw_shard, write_shard
from compodiff.speed.wide_arrays import SMALL
from compodiff.storage.atomic import open_work_folder
from compodiff.storage.digests import digest_bytes

_QUERIES, _NEAREST = 500, 10
_OWN = ("shards", "added", "index")


@dataclass(frozen=True)
class IndexSizes:
    """How large an index is made: vectors, their width, vectors of a shard, and how many are added afterwards."""

    rows: int
    width: int
    shard_rows: int = 1_000_000
    added: int = 100_000

    @property
    def shards(self) -> list[int]:
        """How many vectors each shard has."""
        whole, rest = divmod(self.rows, self.shard_rows)
        return [self.shard_rows] * whole + ([rest] if rest else [])


def run(folder: Path, sizes: IndexSizes, kind: str) -> dict[str, Any]:
    """Measure an index of `kind` in `folder`, which is filled and stays.

    Raises:
        InputInvalid: the folder holds something that is not ours.
    """
    folder = open_work_folder(folder, "measured index", _OWN)
    shards, added, index = (folder / name for name in _OWN)
    for where in (shards, added):
        where.mkdir(parents=True, exist_ok=True)
    for number, count in enumerate(sizes.shards):
        if not (shards / f"shard-{number:05d}.parquet").exists():
            run_apart(write_shard, shards, number, count, sizes.width)
    write_shard(added, 99_999, sizes.added, sizes.width)
    built: Cost = run_apart(measure, _prepare_build, shards, index, sizes.width, kind)
    opened: Cost = run_apart(measure, _prepare_opening, index)
    found = run_apart(_search, index, sizes)
    grown: Cost = run_apart(measure, _prepare_growth, added, index, sizes.width)
    opened_again: Cost = run_apart(measure, _prepare_opening, index)
    rows = [
        Figure("build, minutes", built.seconds / 60, most=60),
        Figure("build, processor minutes", built.processor_seconds / 60),
        Figure("build, MB of memory", built.megabytes, most=6000),
        Figure("index, GB on the disk", sum(file.stat().st_size for file in index.rglob("*") if file.is_file()) / 1e9),
        Figure("open, seconds", opened.seconds, most=1),
        Figure("open, MB of memory", opened.megabytes, most=200),
        Figure("recall@10", found["recall"], least=0.95),
        Figure("queries a second, 64 at once", found["together"], least=300),
        Figure("queries a processor second", found["a_processor_second"]),
        Figure("one query, milliseconds (median)", found["alone"], most=15),
        Figure("one query with a filter, milliseconds (median)", found["filtered"]),
        Figure(f"add {sizes.added:,}, seconds", grown.seconds, most=30),
        Figure(f"add {sizes.added:,}, processor seconds", grown.processor_seconds),
        Figure("open the grown index, seconds", opened_again.seconds, most=1),
    ]
    return {"vectors": f"{sizes.rows:,} x {sizes.width}", "rows": [row.to_row() for row in rows]}


def make_manifest(width: int) -> EncoderManifest:
    """Return the manifest of an encoder that is not there, of a width."""
    picture = replace(
        SMALL.describe_encoder().picture, embedding_dim=width, weights_digest=digest_bytes(b"made vectors")
    )
    return replace(SMALL.describe_encoder(), picture=picture)


def _prepare_build(shards: Path, index: Path, width: int, kind: str) -> Callable[[], object]:
    return lambda: build_segments(index, list_shards(shards, width), make_manifest(width), SegmentPlan(kind))


def _prepare_growth(added: Path, index: Path, width: int) -> Callable[[], object]:
    return lambda: add_segment(index, list_shards(added, width), make_manifest(width))


def _prepare_opening(index: Path) -> Callable[[], object]:
    def open_and_ask() -> None:
        opened = Index.load(index)
        opened.search(np.ones((1, opened.manifest.dim), np.float32), _NEAREST)

    return open_and_ask


def _search(folder: Path, sizes: IndexSizes) -> dict[str, float]:
    """Search with vectors of the first shard's families that the index does not hold."""
    queries = normalise(draw_shard(0, sizes.shards[0], sizes.width, _QUERIES)[1])
    index = Index.load(folder)
    _, vectors = open_stored(folder, index.manifest)
    truth = find_exactly(queries, vectors, _NEAREST)
    found, _ = index.search(queries, _NEAREST)  # what it touches is in memory afterwards
    hits = [len(set(ours) & set(exact)) for ours, exact in zip(found.tolist(), truth.tolist(), strict=True)]
    began, worked = time.perf_counter(), time.process_time()
    for at in range(0, _QUERIES, 64):
        index.search(queries[at : at + 64], _NEAREST)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    return {
        "recall": float(np.mean(hits)) / _NEAREST,
        "together": _QUERIES / seconds,
        "a_processor_second": _QUERIES / worked,
        "alone": _time_alone(index, queries),
        "filtered": _time_alone(index, queries[:100], np.arange(0, sizes.rows, 4)),
    }


def _time_alone(index: Index, queries: Floats, allowed: Rows | None = None) -> float:
    """Return the median of some searches, one after the other, in milliseconds."""
    spent = []
    for query in queries:
        began = time.perf_counter()
        index.search(query[None], _NEAREST, allowed=allowed)
        spent.append(time.perf_counter() - began)
    return float(np.median(spent)) * 1e3
