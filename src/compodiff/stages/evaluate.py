"""The stage evaluate@NAME: a benchmark, without a model and with each. Run: compodiff run evaluate@emoji."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np

from compodiff.benchmarks.answers import RetrievalModel
from compodiff.benchmarks.report.comparison import COMPOSED, Comparison
from compodiff.benchmarks.run import digest_weights
from compodiff.benchmarks.run_assembled import EmbeddedBenchmark
from compodiff.encoders import read_edit_maps
from compodiff.index.index import Index
from compodiff.params import EvaluationParams, SamplingParams
from compodiff.stages.declaration import Input, Output

SERVED = 10


def evaluate(  # noqa: PLR0913  # a stage's signature is its declaration
    *,
    evaluation: EvaluationParams,
    sampling: SamplingParams,
    benchmark: Annotated[Path, Input("artifacts/benchmarks/{key}")],
    embeddings: Annotated[Path, Input("artifacts/benchmark_embeddings/{key}")],
    encoder: Annotated[Path, Input("artifacts/encoder")],
    prior: Annotated[Path, Input("artifacts/prior")],
    composed: Annotated[Path, Input("artifacts/composed")],
    index: Annotated[Path, Input("artifacts/index")],
    metrics: Annotated[Path, Output("artifacts/metrics/{key}.json")],
    report: Annotated[Path, Output("artifacts/reports/{key}")],
) -> None:
    """Score the queries; the weight of the sum is chosen on the validation split where there is one.

    Raises:
        EncoderMismatch, IndexMismatch: a model or the index belongs to another encoder than the embeddings.
        CheckpointMismatch, InputInvalid: an input is damaged.
    """
    embedded = EmbeddedBenchmark.load(benchmark, embeddings)
    encoded = embedded.embeddings
    models = {
        "prior": RetrievalModel.load(prior, sampling, encoded, has_reference=False),
        COMPOSED: RetrievalModel.load(composed, sampling, encoded, edits=read_edit_maps(encoder)),
    }
    settings = {
        "encoder": encoded.encoder.to_json(),
        "weights_digest": {"prior": digest_weights(prior), COMPOSED: digest_weights(composed)},
        "sampling": sampling.model_dump() | {"precision": models[COMPOSED].precision},
        "min_relation_queries": evaluation.min_relation_queries,
    }
    comparison = embedded.score(models, encoder, evaluation, settings)
    scored = [row.scored.benchmark for row in comparison.rows[COMPOSED]]
    served = Index.load(index)
    if len(scored) == 1 and set(scored[0].gallery or ()) == set(served.row):
        served.require_encoder(encoded.encoder)
        comparison = comparison.add_to_record(index=measure_served_recall(served, comparison))
    embedded.write(comparison, evaluation, metrics=metrics, report=report)


def measure_served_recall(index: Index, comparison: Comparison) -> dict[str, Any]:
    """Measure recall@10 of the answers as the index serves them; it is the exact one where the index is flat."""
    (row,) = comparison.rows[COMPOSED]
    queries = row.scored.benchmark.queries
    excluded = [list(query.references) for query in queries]
    found = [index.search(part.astype(np.float32), SERVED, excluded) for part in row.similarity.parts]
    rows, scores = (np.concatenate(each, axis=1) for each in zip(*found, strict=True))
    names = np.array(index.picture_ids, dtype=object)
    hits = []
    for query, of_query, order in zip(queries, rows, np.argsort(-scores, axis=1), strict=True):
        ranked = dict.fromkeys(of_query[order][of_query[order] >= 0])  # a picture that several draws found counts once
        hits.append(any(name in query.targets for name in names[list(ranked)[:SERVED]]))
    return {"kind": index.manifest.kind, f"recall_at_{SERVED}": float(np.mean(hits))}
