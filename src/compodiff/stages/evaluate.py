"""The stage evaluate: the emoji benchmark, without a model and with each. Run: compodiff run evaluate.

The benchmark is a `triplets` folder and is scored by the path that scores every other benchmark.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from compodiff.atomic import write_json
from compodiff.benchmarks.answers import Answering, Asked, gallery_vectors
from compodiff.benchmarks.baselines import CHOSEN_BY, baselines, best_dials
from compodiff.benchmarks.benchmark import Benchmark
from compodiff.benchmarks.comparison import COMPOSED, Comparing, Page
from compodiff.benchmarks.ranking import Similarity
from compodiff.benchmarks.scoring import Scorer
from compodiff.benchmarks.showcase import Showcase
from compodiff.benchmarks.triplets import load_triplets
from compodiff.embeddings import Embeddings
from compodiff.model.checkpoint import WEIGHTS
from compodiff.params import EvaluationParams, SamplingParams
from compodiff.retrieval.index import Index
from compodiff.stages.declaration import Input, Output

RECALLS = ("recall_at_1", "recall_at_5", "recall_at_10")
SERVED = 10
ATTRIBUTION = (
    "Pictures: OpenMoji (openmoji.org), CC BY-SA 4.0. Twemoji (Twitter, Inc. and other contributors), CC BY 4.0."
)


def evaluate(  # noqa: PLR0913  # a stage's signature is its declaration
    *,
    evaluation: EvaluationParams,
    sampling: SamplingParams,
    benchmark: Annotated[Path, Input("artifacts/benchmark")],
    index: Annotated[Path, Input("artifacts/index")],
    prior: Annotated[Path, Input("artifacts/prior")],
    composed: Annotated[Path, Input("artifacts/composed")],
    embeddings: Annotated[Path, Input("artifacts/embeddings")],
    metrics: Annotated[Path, Output("artifacts/metrics/emoji.json")],
    report: Annotated[Path, Output("artifacts/report")],
) -> None:
    """Score the test queries; the weight of the sum is chosen on the validation queries.

    Raises:
        EncoderMismatch, IndexMismatch: a model or the index belongs to another encoder than the embeddings.
        CheckpointMismatch, InputInvalid: an input is damaged.
    """
    encoded = Embeddings.load(embeddings)
    served = Index.load(index)
    served.require_encoder(encoded.encoder)
    (test,), (validation,) = load_triplets(benchmark, "test"), load_triplets(benchmark, "validation")
    asked, vectors, scorer = Asked.of(test, encoded), gallery_vectors(encoded), Scorer(chunk=evaluation.chunk)
    dials = best_dials(validation, Asked.of(validation, encoded), vectors, scorer, evaluation)
    rows = {
        **baselines(asked, dials),
        "prior": Answering.load(prior, sampling, encoded, has_reference=False).answer(asked, "prior"),
        COMPOSED: Answering.load(composed, sampling, encoded).answer(asked, COMPOSED),
    }
    settings = {
        "benchmark": "emoji",
        "encoder": encoded.encoder.to_json(),
        "weights_digest": {"prior": _digest(prior / WEIGHTS), COMPOSED: _digest(composed / WEIGHTS)},
        "sampling": sampling.model_dump(),
        "baselines": dials.record() | {"chosen_by": f"{', then '.join(CHOSEN_BY)}, on validation"},
        "min_relation_queries": evaluation.min_relation_queries,
        "index": {"kind": served.manifest.kind, f"recall_at_{SERVED}": served_recall(served, test, rows[COMPOSED])},
    }
    comparing = Comparing.of(scorer, evaluation)
    comparison = comparing.compare([test], vectors, {name: [row] for name, row in rows.items()}, settings)
    write_json(metrics, figures(comparison.summaries) | {"record": dict(comparison.record)})
    page = Page("Emoji benchmark: unseen concepts", RECALLS, Showcase.of(evaluation), ATTRIBUTION)
    page.write(report, comparison, vectors)


def figures(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The rows as artifacts/metrics/emoji.json has them: recalls, their intervals, the same for each relation."""
    return {
        name: {
            **{recall: row["metrics"][recall] for recall in RECALLS},
            "intervals": {recall: row["intervals"][recall] for recall in RECALLS},
            "mean_over_relations": {recall: row["group_means"][recall] for recall in RECALLS if row["group_means"]},
            "relations": {
                relation: {key: values[key] for key in (*RECALLS, "queries")}
                for relation, values in row["groups"].items()
            },
        }
        for name, row in summaries.items()
    }


def served_recall(index: Index, benchmark: Benchmark, similarity: Similarity) -> float:
    """Recall@10 of the answers as the index serves them: equals the exact one where the index is flat."""
    queries = similarity.parts[0].astype(np.float32)
    excluded = [[query.reference] for query in benchmark.queries]
    rows, _ = index.search(queries, SERVED, excluded)
    names = index.pictures["picture_id"].to_numpy()
    hits = [
        any(name in query.targets for name in names[found[found >= 0]])
        for query, found in zip(benchmark.queries, rows, strict=True)
    ]
    return float(np.mean(hits))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
