"""The stage evaluate@NAME: a benchmark, without a model and with each. Run: compodiff run evaluate@emoji."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from compodiff.benchmarks.answers import RetrievalModel, read_gallery_vectors
from compodiff.benchmarks.baselines import BaselineDials
from compodiff.benchmarks.datasets.assembled import open_assembled
from compodiff.benchmarks.report.comparison import COMPOSED, Comparison, ReportLayout
from compodiff.benchmarks.report.showcase import Showcase
from compodiff.benchmarks.run import BenchmarkRun, EmbeddingSource, digest_weights, make_masks, run_benchmark
from compodiff.embeddings import Embeddings
from compodiff.encoders import load_encoder
from compodiff.index.index import Index
from compodiff.params import EvaluationParams, SamplingParams
from compodiff.stages.declaration import Input, Output
from compodiff.storage.atomic import write_json

RECALLS = ("recall_at_1", "recall_at_5", "recall_at_10")  # of one's own triplets; others report their protocol's
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
    assembled, encoded = open_assembled(benchmark), Embeddings.load(embeddings)
    models = {
        "prior": RetrievalModel.load(prior, sampling, encoded, has_reference=False),
        COMPOSED: RetrievalModel.load(composed, sampling, encoded),
    }
    settings = {
        "encoder": encoded.encoder.to_json(),
        "weights_digest": {"prior": digest_weights(prior), COMPOSED: digest_weights(composed)},
        "sampling": sampling.model_dump() | {"precision": models[COMPOSED].precision},
        "min_relation_queries": evaluation.min_relation_queries,
    }
    scored = [replace(part, name=assembled.name) for part in assembled.load(assembled.split)]
    baselines = assembled.load(assembled.validation)[0] if assembled.validation else BaselineDials()
    source = EmbeddingSource(encoded, make_masks(assembled.home, load_encoder(encoder).move_to_gpu()))
    comparison = run_benchmark(BenchmarkRun(scored, source, models, baselines, evaluation, settings))
    served = Index.load(index)
    if len(scored) == 1 and set(scored[0].gallery or ()) == set(served.pictures["picture_id"]):
        served.require_encoder(encoded.encoder)
        comparison = comparison.add_to_record(index=measure_served_recall(served, comparison))
    names = RECALLS if assembled.format == "triplets" else tuple(comparison.summaries[COMPOSED]["metrics"])
    page = ReportLayout(f"Benchmark {assembled.name}", names, Showcase.of(evaluation), assembled.attribution)
    write_json(metrics, comparison.describe_recalls(names))
    page.write(report, comparison, read_gallery_vectors(encoded))


def measure_served_recall(index: Index, comparison: Comparison) -> dict[str, Any]:
    """Measure recall@10 of the answers as the index serves them; it is the exact one where the index is flat."""
    (row,) = comparison.rows[COMPOSED]
    queries = row.scored.benchmark.queries
    excluded = [[query.reference] for query in queries]
    found = [index.search(part.astype(np.float32), SERVED, excluded) for part in row.similarity.parts]
    rows, scores = (np.concatenate(each, axis=1) for each in zip(*found, strict=True))
    names = index.pictures["picture_id"].to_numpy()
    hits = []
    for query, of_query, order in zip(queries, rows, np.argsort(-scores, axis=1), strict=True):
        ranked = dict.fromkeys(of_query[order][of_query[order] >= 0])  # a picture that several draws found counts once
        hits.append(any(name in query.targets for name in names[list(ranked)[:SERVED]]))
    return {"kind": index.manifest.kind, f"recall_at_{SERVED}": float(np.mean(hits))}
