"""What is written about a scored benchmark: means, confidence intervals, groups, and all that the score depends on."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol
from compodiff.benchmarks.scoring.metrics import average_groups, measure_spread
from compodiff.benchmarks.scoring.scorer import Scored, Scorer
from compodiff.benchmarks.scoring.vectors import GivenEmbeddings
from compodiff.errors import InputInvalid
from compodiff.outcomes import Bootstrap, QueryOutcomes
from compodiff.storage.digests import digest_bytes

_NAMED_MISSING = 20
_DIGITS = 16  # of a query's digest


def score_embeddings(
    parts: Sequence[Benchmark], given: GivenEmbeddings, scorer: Scorer, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Score embeddings of any model, those of the queries one part after the other: a summary and its record.

    Raises:
        InputInvalid: there are more or fewer query embeddings than queries, or a picture has no embedding.
    """
    parts, unanswered = given.choose_answered(parts, skip_missing=scorer.skip_missing)
    pictures, queries = given.pictures, given.queries
    sizes = [len(part.queries) for part in parts]
    if queries.queries != sum(sizes):
        named = " + ".join(f"{len(part.queries)} of {part.part or part.split}" for part in parts)
        raise InputInvalid(
            f"{queries.queries} query embeddings for {sum(sizes)} queries ({named}); "
            "give one for each, in the order of the annotation file"
        )
    places = np.split(np.arange(queries.queries), np.cumsum(sizes)[:-1])
    may_leave_out = scorer.skip_missing and len(parts) > 1
    left_out = [part.part for part in parts if may_leave_out and not part.can_be_scored(pictures.rows)]
    scored = [
        scorer.score(part, pictures, queries.take(own))
        for part, own in zip(parts, places, strict=True)
        if part.part not in left_out
    ]
    if not scored:
        raise InputInvalid(f"no query of {parts[0].name} has a target in the gallery")
    galleries = [part.gallery for part in parts if part.gallery is not None]
    foreign = len(set(pictures.ids).difference(*galleries)) if len(galleries) == len(parts) else 0
    details = record(scored, bootstrap) | {"pictures_not_of_the_benchmark": foreign}
    details |= {"parts_left_out": left_out} if left_out else {}
    details |= {"queries_without_reference": unanswered} if unanswered else {}
    return summarise_parts(scored, bootstrap, min_group_queries=1) | {"record": details}


def summarise_parts(parts: Sequence[Scored], bootstrap: Bootstrap, *, min_group_queries: int) -> dict[str, Any]:
    """Sum up one row of a result: every number is a fraction in [0, 1].

    Args:
        parts: the scored parts of one benchmark; a metric is the unweighted mean over them.
        bootstrap: how intervals are drawn.
        min_group_queries: groups of fewer queries stay out of the mean over groups.

    Returns:
        `metrics`, `intervals` (metric -> low and high), `parts` and `over_queries`, the mean over all queries (where
        there are several parts), `groups` and `group_means` (where the queries have groups), `paraphrases`, how much
        the wording matters (where queries are paraphrases).
    """
    names = list(parts[0].outcomes)
    concepts = [[query.concept for query in part.kept] for part in parts]
    found: dict[str, Any] = {
        "metrics": {name: float(np.mean([part.metrics[name] for part in parts])) for name in names},
        "intervals": bootstrap.estimate_intervals([part.outcomes for part in parts], concepts),
    }
    if len(parts) > 1:
        found["parts"] = {part.benchmark.part: part.metrics for part in parts}
    outcomes = {name: np.concatenate([part.outcomes[name] for part in parts]) for name in names}
    if len(parts) > 1:
        found["over_queries"] = {name: float(values.mean()) for name, values in outcomes.items()}
    if spread := measure_spread(outcomes, [query.intent for part in parts for query in part.kept]):
        found["paraphrases"] = spread
    groups = average_groups(outcomes, [query.groups for part in parts for query in part.kept])
    if groups:
        found["groups"] = groups
        large = [group for group in groups.values() if group["queries"] >= min_group_queries]
        found["group_means"] = {name: float(np.mean([group[name] for group in large])) for name in names if large}
    return found


def list_outcomes(parts: Sequence[Scored], bootstrap: Bootstrap, metrics: Sequence[str]) -> QueryOutcomes:
    """Return the outcome of every query that was scored, by which two models can be compared query by query."""
    queries: list[str] = []
    for part in parts:
        it = part.benchmark
        ranked = [it.name, it.split, it.part, list(it.gallery or ()), part.gallery_size, asdict(it.protocol)]
        common = digest_bytes(json.dumps(ranked).encode())
        queries += [digest_bytes(json.dumps([common, asdict(query)]).encode())[:_DIGITS] for query in part.kept]
    return QueryOutcomes(
        queries,
        [part.benchmark.part for part in parts for _ in part.kept],
        [query.concept for part in parts for query in part.kept],
        {name: [float(each) for part in parts for each in part.outcomes[name]] for name in metrics},
        bootstrap,
    )


def record(parts: Sequence[Scored], bootstrap: Bootstrap) -> dict[str, Any]:
    """Record what the score depends on: benchmark, protocol, settings, what is missing, intervals."""
    first = parts[0].benchmark
    missing = list(dict.fromkeys(name for part in parts for name in part.missing))
    return {
        "benchmark": first.name,
        "split": first.split,
        "parts": [part.benchmark.part for part in parts if part.benchmark.part],
        "queries": sum(len(part.kept) for part in parts),
        "skipped_queries": sum(len(part.benchmark.queries) - len(part.kept) for part in parts),
        "gallery": sum(part.gallery_size for part in parts),
        "missing_pictures": len(missing),
        "missing_picture_names": missing[:_NAMED_MISSING],
        "reference_removed": first.protocol.excludes_reference,
        "k": _list_ks(first.protocol),
        "ties": "never favour the target",
        "bootstrap": {"draws": bootstrap.draws, "seed": bootstrap.seed, "level": bootstrap.level},
        **_merge_settings([part.benchmark for part in parts]),
    }


def _list_ks(protocol: BenchmarkProtocol) -> dict[str, list[int]]:
    """Return the K of each kind of metric; the two that few benchmarks have, where they have them."""
    few = {"precision": list(protocol.precision_ks), "negatives": list(protocol.negative_ks)}
    return {
        "recall": list(protocol.recall_ks),
        "map": list(protocol.map_ks),
        "candidates": list(protocol.candidate_ks),
        **{kind: ks for kind, ks in few.items() if ks},
    }


def _merge_settings(parts: Sequence[Benchmark]) -> dict[str, Any]:
    """Return the settings of all parts; one in which they differ is a mapping from part to value."""
    names = dict.fromkeys(name for part in parts for name in part.settings)
    each = {name: {part.part: part.settings[name] for part in parts if name in part.settings} for name in names}
    return {
        name: values
        if any(value != parts[0].settings.get(name) for value in values.values())
        else parts[0].settings[name]
        for name, values in each.items()
    }
