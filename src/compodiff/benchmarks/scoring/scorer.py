"""The one evaluation path: a benchmark, the embeddings of its pictures and a similarity in; outcomes out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery, require_distinct
from compodiff.benchmarks.scoring.marked_ranks import Marks, mark_candidates, mark_gallery, mark_lists
from compodiff.benchmarks.scoring.metrics import (
    average_precision_at_k,
    integrate_precision,
    precision_at_k,
    recall_at_k,
)
from compodiff.benchmarks.scoring.ranking import UNRANKED, Ints, Reals, Similarity, find_top_rows
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.errors import InputInvalid

_QUERIES_AT_ONCE = 4096


def _ignore(rows: int) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Scored:
    """What one part of a benchmark came to.

    Attributes:
        benchmark: the part.
        kept: the queries that were scored; one whose targets are all missing from the gallery is left out.
        places: their places among the queries of the benchmark.
        outcomes: metric name -> the outcome of each kept query, in [0, 1].
        ranks: rank of the best target of each kept query, from 1, over the gallery (GeneCIS: over its candidates).
        missing: pictures of the benchmark that have no embedding.
        gallery_size: pictures that were ranked, before the reference is taken out.
    """

    benchmark: Benchmark
    kept: tuple[BenchmarkQuery, ...]
    places: Ints
    outcomes: Mapping[str, Reals]
    ranks: Ints
    missing: tuple[str, ...]
    gallery_size: int

    @property
    def metrics(self) -> dict[str, float]:
        """Mean outcome over queries."""
        return {name: float(values.mean()) for name, values in self.outcomes.items()}


@dataclass(frozen=True)
class Scorer:
    """How scoring is done.

    Attributes:
        chunk: gallery rows scored at once; changes memory and speed only.
        skip_missing: score without pictures that have no embedding, and count them; otherwise they are an error.
        progress: called with the gallery rows of each finished chunk.
    """

    chunk: int
    skip_missing: bool = False
    progress: Callable[[int], object] = _ignore

    def score(self, benchmark: Benchmark, pictures: Vectors, similarity: Similarity) -> Scored:
        """Return the rank every query of `benchmark` and take its protocol's outcomes.

        Args:
            benchmark: one part.
            pictures: embeddings by picture id; pictures that the benchmark does not rank are left out.
            similarity: row i belongs to query i of the benchmark.

        Raises:
            InputInvalid: counts or widths disagree, the split hides its targets, or pictures are missing.
        """
        if benchmark.hides_targets:
            raise InputInvalid(
                f"{benchmark.label} hides its targets; write the test server's file with: "
                f"compodiff benchmark submit {benchmark.name}"
            )
        require_fit(benchmark, pictures, similarity)
        gallery, missing = restrict(benchmark, pictures, skip_missing=self.skip_missing)
        found = [any(target in gallery.rows for target in query.targets) for query in benchmark.queries]
        kept = np.flatnonzero(found)
        if not len(kept):
            raise InputInvalid(f"no query of {benchmark.label} has a target in the gallery")
        outcomes: dict[str, list[Reals]] = {}
        for start in range(0, len(kept), _QUERIES_AT_ONCE):
            rows = kept[start : start + _QUERIES_AT_ONCE]
            queries = [benchmark.queries[row] for row in rows]
            for name, values in self._measure_outcomes(benchmark, queries, gallery, similarity.take(rows)).items():
                outcomes.setdefault(name, []).append(values)
        joined = {name: np.concatenate(values) for name, values in outcomes.items()}
        ranks = joined.pop("rank").astype(np.int64)
        kept_queries = tuple(benchmark.queries[row] for row in kept)
        return Scored(benchmark, kept_queries, kept, joined, ranks, missing, len(gallery.ids))

    def _measure_outcomes(
        self, benchmark: Benchmark, queries: Sequence[BenchmarkQuery], gallery: Vectors, similarity: Similarity
    ) -> dict[str, Reals]:
        """Return the outcome of each query by metric, and as `rank` the rank of its best target."""
        protocol = benchmark.protocol
        outcomes: dict[str, Reals] = {}
        if protocol.candidate_ks:
            marks = mark_candidates(queries, gallery, similarity)
            outcomes |= _score_targets(marks, queries, protocol.candidate_metric, protocol.candidate_ks)
            if protocol.soft:
                outcomes |= _measure_soft(marks, queries, f"soft_{protocol.candidate_metric}", protocol.candidate_ks)
        if protocol.recall_ks:
            removed = protocol.excludes_reference
            marks = mark_gallery(
                queries, gallery, similarity, excludes_reference=removed, chunk=self.chunk, progress=self.progress
            )
            outcomes |= _score_targets(marks, queries, "recall", protocol.recall_ks)
            if protocol.map_ks or protocol.precision_ks or protocol.full_map:
                outcomes |= _measure_precision(marks, queries, protocol)
            if protocol.soft:
                outcomes |= _measure_soft(marks, queries, "soft_recall", protocol.recall_ks)
        if protocol.negative_ks:
            outcomes |= _measure_negatives(benchmark, queries, gallery, similarity, self.chunk)
        return outcomes


def restrict(benchmark: Benchmark, pictures: Vectors, *, skip_missing: bool) -> tuple[Vectors, tuple[str, ...]]:
    """Keep the embeddings of the benchmark's gallery, in its order; also return the ids that have none.

    Raises:
        InputInvalid: a picture that must be ranked has no embedding and `skip_missing` is false.
    """
    wanted = benchmark.ranked_pictures if benchmark.gallery is None else benchmark.gallery
    known = {name: pictures.rows.get(name, pictures.rows.get(benchmark.aliases.get(name, ""), -1)) for name in wanted}
    missing = tuple(name for name, row in known.items() if row < 0)
    if missing and not skip_missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputInvalid(
            f"picture {missing[0]!r}{more} of {benchmark.label} has no embedding in the gallery; "
            "embed what is missing, or leave it out with --skip-missing"
        )
    if benchmark.gallery is None and not benchmark.aliases:
        return pictures, missing
    return pictures.take({name: row for name, row in known.items() if row >= 0}), missing


def score_lists(benchmark: Benchmark, lists: Sequence[Sequence[str]]) -> dict[str, Reals]:
    """Score ranked lists of ids, such as a submission's, the best first; a short list keeps its denominator.

    Raises:
        InputInvalid: a list names a picture twice.
    """
    for query, names in zip(benchmark.queries, lists, strict=True):
        require_distinct(list(names), f"{benchmark.label}: in the list of query {query.key} picture")
    marks = mark_lists(benchmark.queries, lists)
    protocol = replace(benchmark.protocol, full_map=False)  # a list is no whole ranking
    outcomes = _score_targets(marks, benchmark.queries, "recall", protocol.recall_ks)
    del outcomes["rank"]
    return _measure_precision(marks, benchmark.queries, protocol) | outcomes


def _score_targets(marks: Marks, queries: Sequence[BenchmarkQuery], metric: str, ks: Sequence[int]) -> dict[str, Reals]:
    weights = marks.look_up_weights([dict.fromkeys(query.targets, 1.0) for query in queries])
    ranks = marks.compute_ranks(weights)
    best = np.where(weights > 0, ranks, UNRANKED).min(axis=1)
    return {f"{metric}_at_{k}": recall_at_k(ranks, weights, k) for k in ks} | {"rank": best.astype(np.float64)}


def _measure_soft(marks: Marks, queries: Sequence[BenchmarkQuery], metric: str, ks: Sequence[int]) -> dict[str, Reals]:
    weights = marks.look_up_weights([query.label_weights for query in queries])
    ranks = marks.compute_ranks(weights)
    return {f"{metric}_at_{k}": recall_at_k(ranks, weights, k) for k in ks}


def find_excluded(benchmark: Benchmark, queries: Sequence[BenchmarkQuery], gallery: Vectors) -> Ints:
    """Return the gallery rows (Q, E) that are taken out of each query's ranking, -1 where there are fewer."""
    if not benchmark.protocol.excludes_reference:
        return np.full((len(queries), 1), -1)
    excluded = np.full((len(queries), max((len(query.references) for query in queries), default=1)), -1)
    for place, query in enumerate(queries):
        excluded[place, : len(query.references)] = [gallery.rows.get(name, -1) for name in query.references]
    return excluded


def _measure_negatives(
    benchmark: Benchmark, queries: Sequence[BenchmarkQuery], gallery: Vectors, similarity: Similarity, chunk: int
) -> dict[str, Reals]:
    """Return negative recall@K, 0 where a query has no negatives, as PinPoint's evaluation counts it."""
    excluded = find_excluded(benchmark, queries, gallery)
    most = min(max(benchmark.protocol.negative_ks), len(gallery.ids) - excluded.shape[1])
    top = find_top_rows(similarity, gallery.embeddings, max(1, most), excluded=excluded, chunk=chunk)
    names = [{gallery.rows[name] for name in query.negatives if name in gallery.rows} for query in queries]
    found = np.array([[row in of_query for row in rows] for of_query, rows in zip(names, top, strict=True)])  # (Q, k)
    total = np.array([len(query.negatives) for query in queries])
    return {
        f"negative_recall_at_{k}": found[:, :k].sum(axis=1) / np.maximum(1, np.minimum(total, k))
        for k in benchmark.protocol.negative_ks
    }


def _measure_precision(
    marks: Marks, queries: Sequence[BenchmarkQuery], protocol: BenchmarkProtocol
) -> dict[str, Reals]:
    relevant = [{*query.targets, *query.also_relevant} for query in queries]
    weights = marks.look_up_weights([dict.fromkeys(names, 1.0) for names in relevant])
    total = np.array([len(names) for names in relevant])
    ranks = marks.compute_ranks(weights)
    outcomes = {f"map_at_{k}": average_precision_at_k(ranks, weights > 0, total, k) for k in protocol.map_ks}
    outcomes |= {f"precision_at_{k}": precision_at_k(ranks, weights > 0, k) for k in protocol.precision_ks}
    return outcomes | ({"map": integrate_precision(ranks, weights > 0, total)} if protocol.full_map else {})


def require_fit(benchmark: Benchmark, pictures: Vectors, similarity: Similarity) -> None:
    """Refuse query embeddings that cannot belong to this benchmark and gallery.

    Raises:
        InputInvalid: their number is not that of the queries, or their width not that of the gallery.
    """
    if similarity.queries != len(benchmark.queries):
        raise InputInvalid(
            f"{similarity.queries} query embeddings for the {len(benchmark.queries)} queries of "
            f"{benchmark.label}; give one for each query, in the order of the annotation file"
        )
    if similarity.width != pictures.embeddings.shape[1]:
        raise InputInvalid(
            f"queries are {similarity.width} wide and the gallery {pictures.embeddings.shape[1]}; "
            "embed both with one model"
        )
