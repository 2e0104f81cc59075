"""What exact search of many queries costs beside FAISS's flat search, over vectors that are made for it.

Both see the same vectors in memory, in turns, with the threads that OMP_NUM_THREADS gives them.
Shapes: N vectors, D width, Q queries.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from compodiff.index.exact import NearestSoFar
from compodiff.index.nearest import Floats, Rows, compare_all, normalise
from compodiff.speed.figures import Figure
from compodiff.speed.vectors import draw_shard

_NEAREST = 10
_AT_ONCE = 50_000  # vectors that are drawn
Answer = tuple[Floats, Rows]


def run(rows: int, width: int, queries: int, repeats: int) -> dict[str, Any]:
    """Measure both ways over `rows` vectors; medians of `repeats` count."""
    vectors, asked = _draw(rows, width, queries)

    def find() -> Answer:
        nearest = NearestSoFar(asked, _NEAREST)
        nearest.add(0, vectors)
        return nearest.get()

    ways: list[Callable[[], Answer]] = [lambda: compare_all(asked, vectors, _NEAREST), find]
    (flat_scores, flat_rows), (scores, found) = (way() for way in ways)  # both have begun before they are timed
    spent = np.array([[_time(way) for way in ways] for _ in range(repeats)])  # (repeats, 2 ways, 2 clocks)
    (flat, flat_worked), (ours, worked) = np.median(spent, axis=0).tolist()
    figures = [
        Figure("FAISS flat, seconds", flat),
        Figure("FAISS flat, processor seconds", flat_worked),
        Figure("exact search, seconds", ours),
        Figure("exact search, processor seconds", worked),
        Figure("times as fast as FAISS flat", flat / ours, least=1.5),
        Figure("times as fast as FAISS flat, by processor seconds", flat_worked / worked),
        Figure("largest difference of scores", float(np.abs(scores - flat_scores).max()), most=1e-5),
        Figure("share of the same rows", float((found == flat_rows).mean()), least=0.999),
    ]
    return {"vectors": f"{rows:,} x {width}, {queries} queries", "rows": [figure.to_row() for figure in figures]}


def _draw(rows: int, width: int, queries: int) -> tuple[Floats, Floats]:
    """Return unit vectors (N, D), and queries (Q, D) of the families of the first of them."""
    vectors = np.empty((rows, width), np.float32)
    asked = normalise(draw_shard(0, min(rows, _AT_ONCE), width, queries)[1])
    for number, at in enumerate(range(0, rows, _AT_ONCE)):
        drawn = draw_shard(number, min(_AT_ONCE, rows - at), width)[0]
        vectors[at : at + len(drawn)] = normalise(drawn)
    return vectors, asked


def _time(way: Callable[[], Answer]) -> tuple[float, float]:
    """Return seconds of the wall and of the processor, of all threads together."""
    began, worked = time.perf_counter(), time.process_time()
    way()
    return time.perf_counter() - began, time.process_time() - worked
