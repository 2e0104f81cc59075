"""What a query finds without a model: by the reference, by the text, by their sum, by the product of their scores."""

import numpy as np

from compodiff.benchmarks.answers import Asked
from compodiff.benchmarks.benchmark import Benchmark
from compodiff.benchmarks.ranking import Similarity, unit
from compodiff.benchmarks.scoring import Scorer
from compodiff.benchmarks.vectors import Vectors

CHOSEN_BY = ("recall_at_1", "recall_at_10")


def baselines(asked: Asked, text_weight: float) -> dict[str, Similarity]:
    """The four baseline rows by name."""
    return {
        "image_only": Similarity((asked.references,)),
        "text_only": Similarity((asked.texts,)),
        "sum": weighted_sum(asked, text_weight),
        "product": Similarity((asked.references, asked.texts)),
    }


def weighted_sum(asked: Asked, text_weight: float) -> Similarity:
    """(1 - text_weight) reference + text_weight text, both of length 1 before they are added."""
    return Similarity(((1 - text_weight) * unit(asked.references, np.float64) + text_weight * asked.texts,))


def best_text_weight(validation: Benchmark, asked: Asked, vectors: Vectors, scorer: Scorer, weights: int) -> float:
    """The weight of the text, of `weights` even steps from 0 to 1, whose sum is best by `CHOSEN_BY` on validation."""

    def quality(weight: float) -> tuple[float, ...]:
        metrics = scorer.score(validation, vectors, weighted_sum(asked, weight)).metrics
        return tuple(metrics[name] for name in CHOSEN_BY)

    return max((float(weight) for weight in np.linspace(0, 1, weights)), key=quality)
