"""Recall@K, mAP@K and their kin from ranks.

Q queries, T marks a query (see marks.py).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from compodiff.benchmarks.scoring.ranking import UNRANKED, Bools, Ints, Reals


def recall_at_k(ranks: Ints, weights: Reals, k: int) -> Reals:
    """Return the greatest weight (Q,) within the first k: with 0 and 1 the hit of Recall@K, with labels soft recall."""
    inside: Reals = np.where(ranks <= k, np.maximum(weights, 0.0), 0.0)
    best: Reals = inside.max(axis=1, initial=0.0)
    return best


def average_precision_at_k(ranks: Ints, relevant: Bools, total: Ints, k: int) -> Reals:
    """Return AP@K (Q,): the sum over hits of precision at their rank, divided by min(number of relevant pictures, K).

    Args:
        ranks: (Q, T).
        relevant: (Q, T).
        total: (Q,) relevant pictures of each query, those that are missing from the gallery included.
        k: the cut-off.
    """
    ordered = np.sort(np.where(relevant, ranks, np.iinfo(np.int64).max), axis=1)
    hits = np.arange(1, ordered.shape[1] + 1)
    precision = np.where(ordered <= k, hits / ordered, 0.0)
    average: Reals = precision.sum(axis=1) / np.minimum(total, k)
    return average


def precision_at_k(ranks: Ints, relevant: Bools, k: int) -> Reals:
    """Return the part (Q,) of the first k that is relevant; ranks and relevant are (Q, T)."""
    inside: Reals = ((ranks <= k) & relevant).sum(axis=1) / k
    return inside


def integrate_precision(ranks: Ints, relevant: Bools, total: Ints) -> Reals:
    """Return the average precision (Q,) over the whole ranking, by the trapezoidal rule as i-CIR's evaluation takes it.

    Each hit adds the mean of the precision just before it and at it, divided by the number of relevant pictures; before
    the first place the precision is 1. Shapes as of `average_precision_at_k`.
    """
    ordered = np.sort(np.where(relevant & (ranks < UNRANKED), ranks, UNRANKED), axis=1)
    hits = np.arange(1, ordered.shape[1] + 1)
    before = np.where(ordered == 1, 1.0, (hits - 1) / np.maximum(1, ordered - 1))
    each = np.where(ordered < UNRANKED, (before + hits / ordered) / 2, 0.0)
    average: Reals = each.sum(axis=1) / total
    return average


def measure_spread(outcomes: Mapping[str, Reals], intents: Sequence[str]) -> dict[str, Any]:
    """Measure how much the wording of a query matters.

    Args:
        outcomes: metric name -> (Q,).
        intents: the intent of each query; queries of one are paraphrases, and "" has none.

    Returns:
        `intents`, how many have several paraphrases, and of each metric `range`, the mean over these of the best
        outcome less the worst, and `deviation`, the mean standard deviation; nothing where there are none.
    """
    members: dict[str, list[int]] = {}
    for row, intent in enumerate(intents):
        if intent:
            members.setdefault(intent, []).append(row)
    several = [rows for rows in members.values() if len(rows) > 1]
    if not several:
        return {}

    def average(measure: Callable[[Reals], Any]) -> dict[str, float]:
        return {name: float(np.mean([measure(values[rows]) for rows in several])) for name, values in outcomes.items()}

    return {"intents": len(several), "range": average(np.ptp), "deviation": average(np.std)}


def average_groups(outcomes: Mapping[str, Reals], groups: Sequence[Iterable[str]]) -> dict[str, dict[str, float]]:
    """Average outcomes, metric name -> (Q,), over the queries of each group, with their number as `queries`."""
    members: dict[str, list[int]] = {}
    for row, names in enumerate(groups):
        for name in names:
            members.setdefault(name, []).append(row)
    return {
        name: {metric: float(values[rows].mean()) for metric, values in outcomes.items()} | {"queries": len(rows)}
        for name, rows in sorted(members.items())
    }
