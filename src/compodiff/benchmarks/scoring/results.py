"""What is written about a scored benchmark: means, confidence intervals, groups, and all that the score depends on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from compodiff.benchmarks.datasets.benchmark import Benchmark
from compodiff.benchmarks.scoring.metrics import Bootstrap, grouped_means
from compodiff.benchmarks.scoring.scorer import Scored

_NAMED_MISSING = 20


def summary(parts: Sequence[Scored], bootstrap: Bootstrap, *, min_group_queries: int) -> dict[str, Any]:
    """Sum up one row of a result: every number is a fraction in [0, 1].

    Args:
        parts: the scored parts of one benchmark; a metric is the unweighted mean over them.
        bootstrap: how intervals are drawn.
        min_group_queries: groups of fewer queries stay out of the mean over groups.

    Returns:
        `metrics`, `intervals` (metric -> low and high), `parts` (where there are several), `groups` and `group_means`
        (where the queries have groups).
    """
    names = list(parts[0].outcomes)
    concepts = [[query.concept for query in part.kept] for part in parts]
    found: dict[str, Any] = {
        "metrics": {name: float(np.mean([part.metrics[name] for part in parts])) for name in names},
        "intervals": bootstrap.intervals([part.outcomes for part in parts], concepts),
    }
    if len(parts) > 1:
        found["parts"] = {part.benchmark.part: part.metrics for part in parts}
    outcomes = {name: np.concatenate([part.outcomes[name] for part in parts]) for name in names}
    groups = grouped_means(outcomes, [query.groups for part in parts for query in part.kept])
    if groups:
        found["groups"] = groups
        large = [group for group in groups.values() if group["queries"] >= min_group_queries]
        found["group_means"] = {name: float(np.mean([group[name] for group in large])) for name in names if large}
    return found


def record(parts: Sequence[Scored], bootstrap: Bootstrap) -> dict[str, Any]:
    """What the score depends on besides the embeddings: benchmark, protocol, settings, what is missing, intervals."""
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
        "k": {
            "recall": list(first.protocol.recall_ks),
            "map": list(first.protocol.map_ks),
            "candidates": list(first.protocol.candidate_ks),
        },
        "ties": "never favour the target",
        "bootstrap": {"draws": bootstrap.draws, "seed": bootstrap.seed, "level": bootstrap.level},
        **_settings([part.benchmark for part in parts]),
    }


def _settings(parts: Sequence[Benchmark]) -> dict[str, Any]:
    """The settings of all parts; one in which they differ is a mapping from part to value."""
    names = dict.fromkeys(name for part in parts for name in part.settings)
    each = {name: {part.part: part.settings[name] for part in parts if name in part.settings} for name in names}
    return {
        name: values
        if any(value != parts[0].settings.get(name) for value in values.values())
        else parts[0].settings[name]
        for name, values in each.items()
    }
