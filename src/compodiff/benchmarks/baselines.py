"""What a query finds without a model: by the reference, by the text, by their sum, by the product of their scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from compodiff.benchmarks.answers import QueryArrays
from compodiff.benchmarks.datasets.benchmark import Benchmark
from compodiff.benchmarks.scoring.ranking import Similarity, normalise
from compodiff.benchmarks.scoring.scorer import Scorer
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.params import EvaluationParams

CHOSEN_BY = ("recall_at_1", "recall_at_10")


@dataclass(frozen=True)
class BaselineDials:
    """How the two baselines that have a choice are made.

    Attributes:
        text_weight: of the text in the sum; the reference gets the rest.
        product_offset: added to both cosines before they are multiplied. 0 is the paper's product, which supposes that
            no cosine is negative; with 1 the product rises in both whatever their signs.
    """

    text_weight: float = 0.5
    product_offset: float = 0.0


def make_baselines(asked: QueryArrays, dials: BaselineDials) -> dict[str, Similarity]:
    """Return the four baseline rows by name; the reference's alone where texts have no embedding of their own."""
    if asked.embeddings.encoder.joint is None:
        return {"image_only": Similarity((asked.references,))}
    return {
        "image_only": Similarity((asked.references,)),
        "text_only": Similarity((asked.texts,)),
        "sum": add_weighted(asked, dials.text_weight),
        "product": multiply_scores(asked, dials.product_offset),
    }


def add_weighted(asked: QueryArrays, text_weight: float) -> Similarity:
    """Add (1 - text_weight) reference and text_weight text, both of length 1 before they are added."""
    return Similarity(((1 - text_weight) * normalise(asked.references, np.float64) + text_weight * asked.texts,))


def multiply_scores(asked: QueryArrays, offset: float) -> Similarity:
    """Multiply (offset + cosine to the reference) by (offset + cosine to the text)."""
    return Similarity((asked.references, asked.texts), offset=offset)


def choose_dials(
    validation: Benchmark, asked: QueryArrays, vectors: Vectors, scorer: Scorer, params: EvaluationParams
) -> BaselineDials:
    """Return the dials of params.yaml whose sum and whose product are best by `CHOSEN_BY` on validation queries."""

    def find_best(make: Callable[[QueryArrays, float], Similarity], values: Sequence[float]) -> float:
        def measure_quality(value: float) -> tuple[float, ...]:
            metrics = scorer.score(validation, vectors, make(asked, value)).metrics
            return tuple(metrics[name] for name in CHOSEN_BY)

        return max(values, key=measure_quality)

    return BaselineDials(
        find_best(add_weighted, params.text_weights), find_best(multiply_scores, params.product_offsets)
    )
