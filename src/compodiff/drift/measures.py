"""How far two samples of embeddings are apart, and how surely.

N and M queries, D dimensions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Reals = NDArray[np.float64]

MOST = 500  # of each sample: kernels are compared for all pairs
_SHUFFLES = 200
_COMPONENTS = 8


@dataclass(frozen=True)
class SampleDistance:
    """What came of comparing live embeddings with those of the benchmark.

    Attributes:
        distance: maximum mean discrepancy, the square root of its unbiased estimate, 0 where that is negative.
        chance: how often a random division of both together lies as far apart.
        components: by principal component of the benchmark, Kolmogorov and Smirnov's distance of the two, 0 to 1.
        live, benchmark: how many of each were compared.
    """

    distance: float
    chance: float
    components: tuple[float, ...]
    live: int
    benchmark: int


def compare_samples(live: Floats, benchmark: Floats, seed: int) -> SampleDistance:
    """Compare live embeddings (N, D) with the benchmark's (M, D), each of length 1 first.

    The kernel is Gaussian, its width the median distance of all pairs (Gretton et al., JMLR 2012, equation 3).
    """
    generator = np.random.default_rng(seed)
    one, other = (_draw(_normalise(each), generator) for each in (live, benchmark))
    kernel = _compute_kernel(np.concatenate([one, other]))
    squared = _estimate_discrepancy(kernel, np.arange(len(kernel)), len(one))
    shuffled = [_estimate_discrepancy(kernel, generator.permutation(len(kernel)), len(one)) for _ in range(_SHUFFLES)]
    chance = (1 + sum(each >= squared for each in shuffled)) / (1 + _SHUFFLES)
    components = _compare_components(one, other)
    return SampleDistance(float(np.sqrt(max(squared, 0.0))), chance, components, len(one), len(other))


def _draw(sample: Reals, generator: np.random.Generator) -> Reals:
    return sample if len(sample) <= MOST else sample[generator.choice(len(sample), MOST, replace=False)]


def _normalise(sample: Floats) -> Reals:
    lengths = np.linalg.norm(sample.astype(np.float64), axis=1, keepdims=True)  # (N, 1)
    return np.asarray(sample / np.maximum(lengths, 1e-12))


def _compute_kernel(joined: Reals) -> Reals:
    """Return the kernel (N + M, N + M) of all pairs."""
    squares = np.maximum(2 - 2 * joined @ joined.T, 0.0)  # of unit vectors
    width = np.median(squares[np.triu_indices(len(joined), 1)])
    return np.asarray(np.exp(-squares / max(float(width), 1e-12)))


def _estimate_discrepancy(kernel: Reals, order: NDArray[np.int64], first: int) -> float:
    """Return the unbiased squared discrepancy of the `first` rows in this order from the others."""
    one, other = order[:first], order[first:]
    within = 0.0
    for rows in (one, other):
        block = kernel[np.ix_(rows, rows)]
        within += (block.sum() - np.trace(block)) / (len(rows) * (len(rows) - 1))
    return float(within - 2 * kernel[np.ix_(one, other)].mean())


def _compare_components(live: Reals, benchmark: Reals) -> tuple[float, ...]:
    from scipy.stats import ks_2samp

    mean = benchmark.mean(0)
    _, _, axes = np.linalg.svd(benchmark - mean, full_matrices=False)  # (min(M, D), D)
    ones, others = (((sample - mean) @ axes[:_COMPONENTS].T).T for sample in (live, benchmark))  # (C, N), (C, M)
    return tuple(float(ks_2samp(one, other).statistic) for one, other in zip(ones, others, strict=True))
