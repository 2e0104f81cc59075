"""Recall@K, mAP@K and their kin from ranks, and confidence intervals over concepts.

Q queries, T marks a query (see marks.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compodiff.benchmarks.ranking import Bools, Ints, Reals


def recall_at_k(ranks: Ints, weights: Reals, k: int) -> Reals:
    """Greatest weight (Q,) within the first k: with weights of 0 and 1 the hit of Recall@K, with labels soft recall."""
    inside: Reals = np.where(ranks <= k, np.maximum(weights, 0.0), 0.0)
    best: Reals = inside.max(axis=1, initial=0.0)
    return best


def average_precision_at_k(ranks: Ints, relevant: Bools, total: Ints, k: int) -> Reals:
    """AP@K (Q,): the sum over hits of precision at their rank, divided by min(number of relevant pictures, K).

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


def grouped_means(outcomes: Mapping[str, Reals], groups: Sequence[Iterable[str]]) -> dict[str, dict[str, float]]:
    """Mean outcome of the queries of each group, with their number as `queries`.

    Args:
        outcomes: metric name -> (Q,).
        groups: the groups of each query.
    """
    members: dict[str, list[int]] = {}
    for row, names in enumerate(groups):
        for name in names:
            members.setdefault(name, []).append(row)
    return {
        name: {metric: float(values[rows].mean()) for metric, values in outcomes.items()} | {"queries": len(rows)}
        for name, rows in sorted(members.items())
    }


@dataclass(frozen=True)
class Bootstrap:
    """How confidence intervals are drawn: whole concepts with replacement, because queries of one are alike."""

    draws: int
    seed: int
    level: float = 0.95

    def interval(self, values: Sequence[Reals], concepts: Sequence[Sequence[str]]) -> tuple[float, float]:
        """Percentile interval of the mean over parts of the mean over queries.

        Args:
            values: one (Q,) for each part of the benchmark.
            concepts: the concept of each query of each part; "" stands for a query of its own.
        """
        generator = np.random.default_rng(self.seed)
        means = np.zeros(self.draws)
        for part, names in zip(values, concepts, strict=True):
            named = [name or f"\0{row}" for row, name in enumerate(names)]
            _, concept = np.unique(named, return_inverse=True)
            sums, sizes = np.bincount(concept, weights=part), np.bincount(concept)
            drawn = generator.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=self.draws)
            means += (drawn @ sums) / (drawn @ sizes) / len(values)
        tail = (1 - self.level) / 2
        low, high = np.quantile(means, [tail, 1 - tail])
        return float(low), float(high)
