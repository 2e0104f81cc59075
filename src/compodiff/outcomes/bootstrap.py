"""Confidence intervals of means over the outcomes of queries.

Q queries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Bootstrap:
    """How confidence intervals are drawn: whole concepts with replacement, because queries of one are alike."""

    draws: int
    seed: int
    level: float = 0.95

    def estimate_intervals(
        self, parts: Sequence[Mapping[str, Reals]], concepts: Sequence[Sequence[str]]
    ) -> dict[str, tuple[float, float]]:
        """Return percentile interval, for each metric, of the mean over parts of the mean over queries.

        Args:
            parts: the outcomes of each part, metric name -> (Q,).
            concepts: the concept of each query of each part; "" stands for a query of its own.
        """
        generator = np.random.default_rng(self.seed)
        names = list(parts[0])
        means = np.zeros((self.draws, len(names)))
        for part, labels in zip(parts, concepts, strict=True):
            distinct = [label or f"\0{row}" for row, label in enumerate(labels)]
            _, concept = np.unique(distinct, return_inverse=True)
            sums = np.stack([np.bincount(concept, weights=part[name]) for name in names], axis=1)
            sizes = np.bincount(concept)
            for draw in range(self.draws):
                times = np.bincount(generator.integers(len(sizes), size=len(sizes)), minlength=len(sizes))
                means[draw] += (times @ sums) / (times @ sizes) / len(parts)
        tail = (1 - self.level) / 2
        low, high = np.quantile(means, [tail, 1 - tail], axis=0)
        return {name: (float(low[i]), float(high[i])) for i, name in enumerate(names)}
