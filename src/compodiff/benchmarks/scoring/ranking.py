"""Exact ranks over a large gallery, chunk by chunk, without ever holding all scores.

Q queries, N gallery pictures, T marks a query (the pictures whose rank matters), C candidates a query, D width.

One matrix product in float32 per chunk decides all pairs but those that lie within its rounding error of a threshold;
these few are scored again in float64. The result therefore does not depend on the chunk size.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Reals = NDArray[np.float64]

# Cosines closer than this are a tie: float32 embeddings cannot tell them apart, float64 sums differ by about 1e-15.
TIE = 1e-9
UNRANKED = 2**52  # later than every rank, and exact as a float
_PAIRS = 1024
_IN_CACHE = 64  # queries, whose scores of a chunk stay in the processor's cache


def normalise(vectors: Floats, dtype: type[np.floating]) -> Floats:
    """Divide each vector (..., D) by its length, all in `dtype`; the zero vector stays zero."""
    scaled: Floats = vectors.astype(dtype)
    scaled /= _measure_lengths(scaled)[..., None]
    return scaled


def _measure_lengths(vectors: Floats) -> Floats:
    """Return the length of each vector (..., D), 1 for the zero vector."""
    lengths: Floats = np.sqrt(np.einsum("...d,...d->...", vectors, vectors))
    lengths[lengths == 0] = 1
    return lengths


@dataclass(frozen=True)
class Similarity:
    """How queries meet pictures: a cosine, or several that are combined.

    Attributes:
        parts: each (Q, D), of any length and float type. One part: the cosine.
        combine: np.multiply makes the product-of-scores baseline of reference and text, np.maximum the best of
            several draws.
        offset: added to each cosine before they are combined; a product of cosines that may be negative needs it.
    """

    parts: tuple[Floats, ...]
    combine: Callable[..., Floats] = np.multiply
    offset: float = 0.0

    @property
    def queries(self) -> int:
        """Q."""
        return len(self.parts[0])

    @property
    def width(self) -> int:
        """D."""
        return int(self.parts[0].shape[1])

    @property
    def slack(self) -> float:
        """Bound on the float32 error of one score, by the probabilistic analysis of Higham and Mary (2019)."""
        return len(self.parts) * (1 + self.offset) * 4 * math.sqrt(self.width) * 2.0**-24

    def take(self, rows: Ints) -> "Similarity":
        """Return the similarity of the given queries alone."""
        return replace(self, parts=tuple(part[rows] for part in self.parts))

    def normalise(self, dtype: type[np.floating]) -> "Similarity":
        """Return the same with its parts normalised, in `dtype`."""
        return replace(self, parts=tuple(normalise(part, dtype) for part in self.parts))


def compute_block_scores(similarity: Similarity, pictures: Floats) -> Floats:
    """Return scores (Q, n) of unit queries against unit pictures (n, D)."""
    scores: Floats = similarity.parts[0] @ pictures.T
    if similarity.offset:
        scores += np.float32(similarity.offset)
    for part in similarity.parts[1:]:
        similarity.combine(scores, part @ pictures.T + np.float32(similarity.offset), out=scores)
    return scores


def score_pairs(similarity: Similarity, gallery: Floats, query: Ints, row: Ints) -> Reals:
    """Return exact scores (M,) of M pairs of a query and a gallery row; the queries are unit vectors in float64."""
    scores = np.empty(len(query))
    for start in range(0, len(query), _PAIRS):
        pairs = slice(start, start + _PAIRS)
        pictures = gallery[row[pairs]].astype(np.float64)
        lengths = _measure_lengths(pictures)
        cosines = (np.einsum("md,md->m", part[query[pairs]], pictures) / lengths for part in similarity.parts)
        scores[pairs] = reduce(similarity.combine, (cosine + similarity.offset for cosine in cosines))
    return scores


def count_at_least(
    similarity: Similarity,
    gallery: Floats,
    thresholds: Reals,
    *,
    chunk: int,
    progress: Callable[[int], object] = lambda rows: None,
) -> Ints:
    """Count the gallery rows that score at least as high as each threshold, ties within `TIE` included.

    Args:
        similarity: the Q queries.
        gallery: (N, D), memory-mapped or not, of any float type and length.
        thresholds: (Q, T), NaN where a query has fewer than T.
        chunk: gallery rows scored at once; changes memory and speed only.
        progress: called with the rows of each finished chunk.

    Returns:
        Counts (Q, T), 0 where the threshold is NaN.
    """
    # The queries with most thresholds first, so that those with a t-th threshold are always the first n_t rows.
    order = np.argsort(np.isnan(thresholds).sum(axis=1), kind="stable")
    ordered, limit = similarity.take(order), thresholds[order] - TIE
    rough, exact = ordered.normalise(np.float32), ordered.normalise(np.float64)
    having = (~np.isnan(limit)).sum(axis=0)
    counts = np.zeros(thresholds.shape, dtype=np.int64)
    for start in range(0, len(gallery), chunk):
        block = np.asarray(gallery[start : start + chunk])
        scores = compute_block_scores(rough, normalise(block, np.float32))
        unsure = [(np.empty(0, np.int64),) * 3]
        for low in range(0, len(scores), _IN_CACHE):  # a part of the scores is compared with all thresholds at once
            for t, n in enumerate(having):
                own = slice(low, min(n, low + _IN_CACHE))
                if n > low:
                    sure, query, row = _count_surely(scores[own], limit[own, t], exact.slack)
                    counts[own, t] += sure
                    unsure.append((low + query, np.full(len(query), t), row))
        query, of, row = (np.concatenate(each) for each in zip(*unsure, strict=True))
        reaches = score_pairs(exact, block, query, row) >= limit[query, of]
        np.add.at(counts, (query[reaches], of[reaches]), 1)
        progress(len(block))
    unordered = np.empty_like(counts)
    unordered[order] = counts
    return unordered


def _count_surely(scores: Floats, limit: Reals, slack: float) -> tuple[Ints, Ints, Ints]:
    """Count per query the scores (n, rows) that surely reach `limit` (n,).

    Returns:
        The counts (n,), and query and row of the scores of which float32 cannot tell.
    """
    surely = np.packbits(scores > (limit + slack).astype(np.float32)[:, None], axis=1)  # (n, rows / 8)
    perhaps = np.packbits(scores >= (limit - slack).astype(np.float32)[:, None], axis=1)
    counted: Ints = np.bitwise_count(surely).sum(axis=1, dtype=np.int64)
    unsure = np.bitwise_xor(perhaps, surely, out=perhaps)
    query, byte = _find_nonzero(unsure != 0)
    place, bit = np.nonzero(np.unpackbits(unsure[query, byte][:, None], axis=1))
    return counted, query[place], 8 * byte[place] + bit


def score_candidates(similarity: Similarity, gallery: Floats, rows: Ints) -> Reals:
    """Return exact scores (Q, C) of each query's own candidates, -inf where `rows` (Q, C) is -1."""
    query, column = np.nonzero(rows >= 0)
    scores = np.full(rows.shape, -np.inf)
    scores[query, column] = score_pairs(similarity.normalise(np.float64), gallery, query, rows[query, column])
    return scores


def find_top_rows(similarity: Similarity, gallery: Floats, k: int, *, excluded: Ints, chunk: int) -> Ints:
    """Return the k best gallery rows (Q, k) of each query, the best first; ties go to the earlier row.

    Args:
        similarity: the Q queries.
        gallery: (N, D).
        k: how many, at most N - E.
        excluded: (Q, E) rows that are left out, or -1.
        chunk: gallery rows scored at once; changes memory and speed only.
    """
    queries = similarity.normalise(np.float32)
    best = np.full((similarity.queries, k), -np.inf, dtype=np.float32)
    pools: list[tuple[Ints, Ints, Floats]] = []
    for start in range(0, len(gallery), chunk):
        scores = compute_block_scores(queries, normalise(np.asarray(gallery[start : start + chunk]), np.float32))
        inside, slot = np.nonzero((excluded >= start) & (excluded < start + scores.shape[1]))
        scores[inside, excluded[inside, slot] - start] = -np.inf
        is_full = best.min() > -np.inf
        if not is_full:
            best = _keep_best(best, scores)
        query, row = _find_nonzero(scores >= _bound_reachable(best, similarity.slack)[:, None])
        pools.append((query, start + row, scores[query, row]))
        if is_full:  # only what reaches the k best so far can be among them: a few of each chunk
            best = _keep_best(best, _spread(query, scores[query, row], len(best)))
    query, row, rough = (np.concatenate(columns) for columns in zip(*pools, strict=True))
    kept = (rough >= _bound_reachable(best, similarity.slack)[query]) & (rough > -np.inf)
    query, row = query[kept], row[kept]
    exact = score_pairs(similarity.normalise(np.float64), gallery, query, row)
    # Scores that tie are made equal by rounding, so that the order among them is that of the rows.
    order = np.lexsort((row, -np.round(exact / TIE), query))
    place = np.arange(len(order)) - np.searchsorted(query[order], query[order])
    rows = np.full((similarity.queries, k), -1, dtype=np.int64)
    first = place < k
    rows[query[order][first], place[first]] = row[order][first]
    return rows


def _bound_reachable(best: Floats, slack: float) -> Floats:
    """Return the lowest score (Q,) with which a row may still belong to the k best, given those so far (Q, k)."""
    lowest: Floats = best.min(axis=1) - np.float32(2 * slack)
    return lowest


def _keep_best(best: Floats, scores: Floats) -> Floats:
    """Return the k best (Q, k) of `best` and of further scores (Q, n)."""
    k = best.shape[1]
    highest = np.partition(scores, -k, axis=1)[:, -k:] if scores.shape[1] > k else scores
    kept: Floats = np.partition(np.concatenate([best, highest], axis=1), -k, axis=1)[:, -k:]
    return kept


def _spread(query: Ints, scores: Floats, queries: int) -> Floats:
    """Return scores (M,) by their query, which rises, as (Q, n), with -inf where a query has fewer than n."""
    counts = np.bincount(query, minlength=queries)
    spread = np.full((queries, max(1, counts.max())), -np.inf, dtype=scores.dtype)
    spread[query, np.arange(len(query)) - (np.cumsum(counts) - counts)[query]] = scores
    return spread


def _find_nonzero(flags: Bools) -> tuple[Ints, Ints]:
    """Return the row and column of each True: np.nonzero, several times as fast on a sparse matrix."""
    row, column = np.divmod(np.flatnonzero(flags), flags.shape[1])
    return row, column
