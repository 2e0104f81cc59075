"""The stage evaluate: both benchmarks, without a model and with each. Run: compodiff run evaluate.

Each is a `triplets` folder and is scored by the path that scores every other benchmark.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from torch import Tensor

from compodiff.benchmarks.answers import RetrievalModel, read_gallery_vectors
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkQuery
from compodiff.benchmarks.datasets.own import load_triplets
from compodiff.benchmarks.report.comparison import COMPOSED, Comparison, ReportLayout
from compodiff.benchmarks.report.showcase import Showcase
from compodiff.benchmarks.run import BenchmarkRun, EmbeddingSource, digest_weights, run_benchmark
from compodiff.benchmarks.scoring.ranking import Floats
from compodiff.embeddings import Embeddings
from compodiff.embeddings.drawn_masks import check_cells
from compodiff.errors import InputInvalid
from compodiff.images import read_picture
from compodiff.index.index import Index
from compodiff.params import EvaluationParams, SamplingParams
from compodiff.project import ATTRIBUTION
from compodiff.stages.declaration import Input, Output
from compodiff.storage.atomic import write_json

RECALLS = ("recall_at_1", "recall_at_5", "recall_at_10")
SERVED = 10


def evaluate(  # noqa: PLR0913  # a stage's signature is its declaration
    *,
    evaluation: EvaluationParams,
    sampling: SamplingParams,
    benchmark: Annotated[Path, Input("artifacts/benchmark")],
    scenes: Annotated[Path, Input("artifacts/scenes")],
    index: Annotated[Path, Input("artifacts/index")],
    prior: Annotated[Path, Input("artifacts/prior")],
    composed: Annotated[Path, Input("artifacts/composed")],
    embeddings: Annotated[Path, Input("artifacts/embeddings")],
    metrics: Annotated[Path, Output("artifacts/metrics/emoji.json")],
    report: Annotated[Path, Output("artifacts/report")],
    scenes_metrics: Annotated[Path, Output("artifacts/metrics/scenes.json")],
    scenes_report: Annotated[Path, Output("artifacts/scenes_report")],
) -> None:
    """Score the test queries of both benchmarks; the weight of the sum is chosen on their validation queries.

    Raises:
        EncoderMismatch, IndexMismatch: a model or the index belongs to another encoder than the embeddings.
        CheckpointMismatch, InputInvalid: an input is damaged.
    """
    encoded = Embeddings.load(embeddings)
    served = Index.load(index)
    served.require_encoder(encoded.encoder)
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

    def compare(name: str, folder: Path) -> Comparison:
        (test,), (validation,) = (load_triplets(folder, split) for split in ("test", "validation"))
        source = EmbeddingSource(encoded, partial(look_up_mask, encoded, folder))
        return run_benchmark(BenchmarkRun([replace(test, name=name)], source, models, validation, evaluation, settings))

    emoji = compare("emoji", benchmark)
    page = ReportLayout("Emoji benchmark: unseen concepts", RECALLS, Showcase.of(evaluation), ATTRIBUTION)
    _write(emoji.add_to_record(index=measure_served_recall(served, emoji)), page, encoded, metrics, report)
    page = replace(page, title="Scenes benchmark: edits of unseen objects")
    _write(compare("scenes", scenes), page, encoded, scenes_metrics, scenes_report)


def _write(comparison: Comparison, page: ReportLayout, encoded: Embeddings, metrics: Path, report: Path) -> None:
    """Write the figures, and the report as a folder."""
    write_json(metrics, comparison.describe_recalls(page.metrics))
    page.write(report, comparison, read_gallery_vectors(encoded))


def look_up_mask(encoded: Embeddings, folder: Path, _part: Benchmark, query: BenchmarkQuery) -> tuple[Tensor, Floats]:
    """Return the cells (64, 64) of a query's mask, and the embedding (D,) of its reference made with that mask.

    Raises:
        InputInvalid: the reference was not embedded with that mask.
    """
    cells = np.asarray(read_picture(folder / query.mask).convert("L")) > 127
    row = encoded.find_masked_row(query.reference, cells)
    if row is None:
        raise InputInvalid(f"{query.reference} is not embedded with {query.mask}; run: dvc repro embed")
    return check_cells(cells), encoded.masked[row]


def measure_served_recall(index: Index, comparison: Comparison) -> dict[str, Any]:
    """Recall@10 of the answers as the index serves them: equals the exact one where the index is flat."""
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
