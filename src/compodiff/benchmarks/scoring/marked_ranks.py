"""The pictures whose rank matters to each query, and how many others score at least as high.

Q queries, T marks a query: its targets, further ground truths, soft labels, and the reference where it is taken out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compodiff.benchmarks.datasets.benchmark import BenchmarkQuery
from compodiff.benchmarks.scoring.ranking import (
    TIE,
    UNRANKED,
    Bools,
    Ints,
    Reals,
    Similarity,
    count_at_least,
    score_candidates,
    score_pairs,
)
from compodiff.benchmarks.scoring.vectors import Vectors

_BEYOND = -1e9  # below the score of every place in a list


@dataclass(frozen=True)
class Marks:
    """The marked pictures of Q queries and how they score.

    Attributes:
        names: the marks of each query, at most T.
        scores: (Q, T), NaN where a query has fewer than T marks.
        at_least: (Q, T) pictures of the ranking that score at least as high, the marks themselves included.
        excluded: (Q, T) True for marks that are taken out of the ranking.
    """

    names: Sequence[Sequence[str]]
    scores: Reals
    at_least: Ints
    excluded: Bools

    def look_up_weights(self, weight_of: Sequence[Mapping[str, float]]) -> Reals:
        """Return the weight (Q, T) of each mark: what its query's mapping says, otherwise 0."""
        weights = np.zeros(self.scores.shape)
        for row, (names, known) in enumerate(zip(self.names, weight_of, strict=True)):
            weights[row, : len(names)] = [known.get(name, 0.0) for name in names]
        return weights

    def compute_ranks(self, weights: Reals) -> Ints:
        """Return the rank (Q, T) of every mark, from 1, in the worst order that ties allow.

        Among equal scores the unmarked come first, then the marks by rising weight (Q, T). An excluded mark and
        padding are `UNRANKED`.
        """
        present = ~np.isnan(self.scores)
        ranked = present & ~self.excluded
        mine, other = self.scores[:, :, None], self.scores[:, None, :]
        marked = ((other >= mine - TIE) & present[:, None, :]).sum(axis=2)
        lighter = weights[:, None, :] < weights[:, :, None]
        slots = np.arange(self.scores.shape[1])
        earlier = (weights[:, None, :] == weights[:, :, None]) & (slots[None, None, :] < slots[None, :, None])
        tied = np.abs(other - mine) <= TIE
        before = ((other > mine + TIE) | (tied & (lighter | earlier))) & ranked[:, None, :]
        ranks = 1 + self.at_least - marked + before.sum(axis=2)
        return np.where(ranked, ranks, UNRANKED)


def mark_gallery(
    queries: Sequence[BenchmarkQuery],
    gallery: Vectors,
    similarity: Similarity,
    *,
    excludes_reference: bool,
    chunk: int,
    progress: Callable[[int], object],
) -> Marks:
    """Mark what matters to each query in the whole gallery (see `count_at_least` for `chunk` and `progress`)."""
    names = [_list_names(query, gallery.rows, excludes_reference=excludes_reference) for query in queries]
    query, slot = _number_slots(names)
    rows = np.array([gallery.rows[name] for marked in names for name in marked], dtype=np.int64)
    scores = np.full((len(queries), max(map(len, names))), np.nan)
    scores[query, slot] = score_pairs(similarity.normalise(np.float64), gallery.embeddings, query, rows)
    at_least = count_at_least(similarity, gallery.embeddings, scores, chunk=chunk, progress=progress)
    excluded = np.zeros(scores.shape, dtype=np.bool_)
    if excludes_reference:
        for place, one in enumerate(queries):
            excluded[place, : len(names[place])] = [name in one.references for name in names[place]]
    return Marks(names, scores, at_least, excluded)


def mark_candidates(queries: Sequence[BenchmarkQuery], gallery: Vectors, similarity: Similarity) -> Marks:
    """Mark the targets, and the pictures with soft labels, among each query's own candidates.

    A picture that stands twice among them (one GeneCIS query has its target once more) is marked once: the other
    entry is a tie like any other.
    """
    rows = np.full((len(queries), max(len(query.candidates) for query in queries)), -1, dtype=np.int64)
    for i, one in enumerate(queries):
        rows[i, : len(one.candidates)] = [gallery.rows.get(name, -1) for name in one.candidates]
    all_scores = score_candidates(similarity, gallery.embeddings, rows)
    names = [
        [name for name in dict.fromkeys(one.candidates) if name in one.targets or name in one.label_weights]
        for one in queries
    ]
    query, slot = _number_slots(names)
    place = np.array([queries[i].candidates.index(name) for i, marked in enumerate(names) for name in marked])
    scores = np.full((len(queries), max(map(len, names))), np.nan)
    scores[query, slot] = all_scores[query, place]
    at_least = (all_scores[:, None, :] >= scores[:, :, None] - TIE).sum(axis=2)
    return Marks(names, scores, at_least, np.zeros(scores.shape, dtype=np.bool_))


def mark_lists(queries: Sequence[BenchmarkQuery], lists: Sequence[Sequence[str]]) -> Marks:
    """Mark what each query's list names; what it does not name is out of reach of every K."""
    names = [list(dict.fromkeys((*query.targets, *query.also_relevant))) for query in queries]
    query, slot = _number_slots(names)
    places = [{name: place for place, name in enumerate(ranked)} for ranked in lists]
    found = np.array([places[i].get(name, -1) for i, marked in enumerate(names) for name in marked])
    scores = np.full((len(queries), max(map(len, names))), np.nan)
    scores[query, slot] = -found.astype(np.float64)
    at_least = np.zeros(scores.shape, dtype=np.int64)
    at_least[query, slot] = found + 1
    unnamed = np.zeros(scores.shape, dtype=np.bool_)
    unnamed[query, slot] = found < 0
    scores[unnamed] = _BEYOND
    return Marks(names, scores, at_least, unnamed)


def _list_names(query: BenchmarkQuery, rows: Mapping[str, int], *, excludes_reference: bool) -> list[str]:
    """Return the marks of a query that are in the gallery; the references, where they are taken out, come first."""
    names = dict.fromkeys(query.references if excludes_reference else ())
    names.update(dict.fromkeys((*query.targets, *query.also_relevant, *query.label_weights)))
    return [name for name in names if name in rows]


def _number_slots(names: Sequence[Sequence[str]]) -> tuple[Ints, Ints]:
    """Return the query number and the slot of every mark, in reading order."""
    sizes = [len(marked) for marked in names]
    query = np.repeat(np.arange(len(names)), sizes)
    slot = np.concatenate([np.arange(size) for size in sizes]).astype(np.int64)
    return query, slot
