"""The best and the worst queries of a result, with what each row of it found."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compodiff.benchmarks.datasets.benchmark import Benchmark
from compodiff.benchmarks.report.page import ShownQuery
from compodiff.benchmarks.scoring.ranking import Ints, Similarity, find_top_rows, score_candidates
from compodiff.benchmarks.scoring.scorer import Scored, find_excluded, restrict
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.params import EvaluationParams


@dataclass(frozen=True)
class ScoredRow:
    """One row of a result over one part: how queries were compared and what came out."""

    similarity: Similarity
    scored: Scored


@dataclass(frozen=True)
class Showcase:
    """How much is shown: queries under each heading, and pictures of each ranking."""

    queries: int
    pictures: int
    chunk: int

    @classmethod
    def of(cls, params: EvaluationParams) -> "Showcase":
        """Show as much as params.yaml says."""
        return cls(params.shown_queries, params.shown_pictures, params.chunk)

    def pick(self, rows: Mapping[str, ScoredRow], vectors: Vectors) -> dict[str, list[ShownQuery]]:
        """Pick and rank; among equals the best are those that the other rows find worst, and the other way round."""
        scored = rows["composed"].scored
        others = np.min([row.scored.ranks for name, row in rows.items() if name != "composed"], axis=0)
        groups = [query.groups[0] if query.groups else "" for query in scored.kept]
        best = spread(np.lexsort((-others, scored.ranks)), groups, self.queries)
        chosen = set(best)
        worst = spread([i for i in np.lexsort((others, -scored.ranks)) if i not in chosen], groups, self.queries)
        shown = self._list_queries([*best, *worst], rows, vectors)
        return {"Best queries": shown[: len(best)], "Worst queries": shown[len(best) :]}

    def _list_queries(self, kept: Sequence[int], rows: Mapping[str, ScoredRow], vectors: Vectors) -> list[ShownQuery]:
        scored = rows["composed"].scored
        benchmark = scored.benchmark
        gallery, _ = restrict(benchmark, vectors, skip_missing=True)
        places = scored.places[list(kept)]
        found = {name: self.rank_pictures(benchmark, gallery, row.similarity, places) for name, row in rows.items()}
        return [
            ShownQuery(
                relative_caption=query.relative_caption,
                group=query.groups[0] if query.groups else benchmark.part,
                references=query.references,
                targets=[name for name in query.targets if name in gallery.rows],
                ranks={name: int(row.scored.ranks[i]) for name, row in rows.items()},
                rankings={name: ranking[place] for name, ranking in found.items()},
            )
            for place, i in enumerate(kept)
            for query in (scored.kept[i],)
        ]

    def rank_pictures(
        self, benchmark: Benchmark, gallery: Vectors, similarity: Similarity, places: Ints
    ) -> list[tuple[str, ...]]:
        """Return the first pictures of each query at `places`, of the gallery or, without one, of its candidates."""
        queries, asked = [benchmark.queries[place] for place in places], similarity.take(places)
        if not benchmark.protocol.recall_ks:
            columns = [[gallery.rows.get(name, -1) for name in query.candidates] for query in queries]
            rows = np.full((len(queries), max(map(len, columns))), -1, dtype=np.int64)
            for i, column in enumerate(columns):
                rows[i, : len(column)] = column
            order = np.argsort(-score_candidates(asked, gallery.embeddings, rows), axis=1, kind="stable")
            top = np.take_along_axis(rows, order, axis=1)[:, : self.pictures]
        else:
            excluded = find_excluded(benchmark, queries, gallery)
            top = find_top_rows(asked, gallery.embeddings, self.pictures, excluded=excluded, chunk=self.chunk)
        return [tuple(gallery.ids[row] for row in found if row >= 0) for found in top]


def spread(order: Iterable[int], groups: Sequence[str], count: int) -> list[int]:
    """Take the first `count` of `order`, of a group no more than its even share, rounded up, while others have some."""
    order = [int(i) for i in order]
    share = math.ceil(count / max(1, len(set(groups))))
    taken: Counter[str] = Counter()
    first: list[int] = []
    rest: list[int] = []
    for i in order:
        taken[groups[i]] += 1
        (first if taken[groups[i]] <= share else rest).append(i)
    return (first + rest)[:count]
