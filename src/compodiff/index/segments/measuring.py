"""How well and how fast an index at size finds: measured when it is built, and as many lists visited as it takes.

Queries are vectors of the index itself, moved by as much as its near neighbours lie apart. Shapes: D embedding width.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from compodiff.index.index import Index
from compodiff.index.manifest import IndexManifest, require_segments
from compodiff.index.nearest import Floats, Rows, normalise
from compodiff.index.segments.lists import find_exactly
from compodiff.index.segments.opened import SegmentedIndex, open_stored

_QUERIES, _NEAREST = 200, 10
_MOVED = 0.3  # length of what is added to a query
_RERANK = (4, 8, 16, 32)  # candidates per result that are scored exactly
_FIRST_PROBES = 4
_GAIN = 0.005  # of recall, below which more candidates do not help: more lists do


def measure(folder: Path, manifest: IndexManifest, recall: float) -> IndexManifest:
    """Return the manifest with the fewest probes and candidates that reach `recall`, and what they come to."""
    _, vectors = open_stored(folder, manifest)
    generator = np.random.default_rng(17)
    rows = np.sort(generator.choice(len(vectors), min(_QUERIES, len(vectors)), replace=False))
    noise = generator.standard_normal((len(rows), manifest.dim))
    queries = normalise(normalise(vectors[rows]) + _MOVED * normalise(noise))
    k = min(_NEAREST, len(vectors))
    truth = find_exactly(queries, vectors, k)
    probes = _FIRST_PROBES
    while True:
        reached = 0.0
        for rerank in _RERANK:
            index = _open(folder, manifest, probes, rerank)
            before, reached = reached, _compare(index.search(queries, k)[0], truth)
            if reached >= recall or reached - before < _GAIN:
                break
        if reached >= recall or probes >= index.lists:
            described = replace(index.described, measured=_time(index, queries, k, reached))
            return replace(index.manifest, segments=described)
        probes = min(2 * probes, index.lists)


def _open(folder: Path, manifest: IndexManifest, probes: int, rerank: int) -> SegmentedIndex:
    described = replace(require_segments(manifest), probes=probes)
    return SegmentedIndex(folder, replace(manifest, rerank=rerank, segments=described))


def _compare(found: Rows, truth: Rows) -> float:
    pairs = zip(found.tolist(), truth.tolist(), strict=True)
    return float(np.mean([len(set(ours) & set(exact)) / len(exact) for ours, exact in pairs]))


def _time(index: Index, queries: Floats, k: int, recall: float) -> dict[str, float]:
    """Return recall, the median of one query's milliseconds, and queries a second of all together."""
    spent = []
    for query in queries[:50]:
        start = time.perf_counter()
        index.search(query[None], k)
        spent.append(time.perf_counter() - start)
    start = time.perf_counter()
    index.search(queries, k)
    together = time.perf_counter() - start
    return {
        "recall_at_10": round(recall, 4),
        "milliseconds": round(float(np.median(spent)) * 1e3, 3),
        "queries_per_second": round(len(queries) / together, 1),
    }
