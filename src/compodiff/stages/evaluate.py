"""The stage evaluate: both benchmarks, without a model and with each. Run: compodiff run evaluate.

Each is a `triplets` folder and is scored by the path that scores every other benchmark.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

from compodiff.benchmarks.answers import Answering, Asked, gallery_vectors
from compodiff.benchmarks.baselines import CHOSEN_BY, baselines, best_dials
from compodiff.benchmarks.datasets.benchmark import Benchmark
from compodiff.benchmarks.datasets.own import load_triplets
from compodiff.benchmarks.report.comparison import COMPOSED, Comparing, Comparison, Page
from compodiff.benchmarks.report.showcase import Showcase
from compodiff.benchmarks.scoring.ranking import Similarity
from compodiff.benchmarks.scoring.scorer import Scorer
from compodiff.embeddings import MASK_SIZE, Embeddings
from compodiff.errors import InputInvalid
from compodiff.images import read_picture
from compodiff.index.index import Index
from compodiff.model.checkpoint import WEIGHTS
from compodiff.params import EvaluationParams, SamplingParams
from compodiff.precision import choose_precision
from compodiff.search.masks import given_cells
from compodiff.stages.declaration import Input, Output
from compodiff.storage.atomic import write_json

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
        "prior": Answering.load(prior, sampling, encoded, has_reference=False),
        COMPOSED: Answering.load(composed, sampling, encoded),
    }
    precision = choose_precision(sampling.precision, models[COMPOSED].denoiser.relative_bias.device)
    settings = {
        "encoder": encoded.encoder.to_json(),
        "weights_digest": {"prior": _digest(prior / WEIGHTS), COMPOSED: _digest(composed / WEIGHTS)},
        "sampling": sampling.model_dump() | {"precision": precision},
        "min_relation_queries": evaluation.min_relation_queries,
    }
    judge = Judge(encoded, models, evaluation, settings)
    judge.write(judge.compare("emoji", benchmark, served), "Emoji benchmark: unseen concepts", metrics, report)
    title = "Scenes benchmark: edits of unseen objects"
    judge.write(judge.compare("scenes", scenes), title, scenes_metrics, scenes_report)


@dataclass(frozen=True)
class Judge:
    """Scores the baselines and the models on benchmark folders.

    Attributes:
        encoded: embeddings of all that the benchmarks name.
        models: row name -> model.
        evaluation: how.
        settings: what every record gets.
    """

    encoded: Embeddings
    models: Mapping[str, Answering]
    evaluation: EvaluationParams
    settings: Mapping[str, Any]

    def compare(self, name: str, folder: Path, served: Index | None = None) -> Comparison:
        """Score the test queries of a folder; `served` is the index that serves its gallery, if one does."""
        (test,), (validation,) = load_triplets(folder, "test"), load_triplets(folder, "validation")
        vectors, scorer = gallery_vectors(self.encoded), Scorer(chunk=self.evaluation.chunk)
        asked = self._asked(test, folder)
        dials = best_dials(validation, self._asked(validation, folder), vectors, scorer, self.evaluation)
        answers = {row: model.answer(asked, f"{row}, {name}") for row, model in self.models.items()}
        rows = baselines(asked, dials) | answers
        settings = {
            **self.settings,
            "benchmark": name,
            "baselines": dials.record() | {"chosen_by": f"{', then '.join(CHOSEN_BY)}, on validation"},
        }
        if served is not None:
            recall = served_recall(served, test, answers[COMPOSED])
            settings["index"] = {"kind": served.manifest.kind, f"recall_at_{SERVED}": recall}
        comparing = Comparing.of(scorer, self.evaluation)
        return comparing.compare([test], vectors, {row: [each] for row, each in rows.items()}, settings)

    def write(self, comparison: Comparison, title: str, metrics: Path, report: Path) -> None:
        """Write the figures, and the report as a folder."""
        write_json(metrics, figures(comparison.summaries) | {"record": dict(comparison.record)})
        page = Page(title, RECALLS, Showcase.of(self.evaluation), ATTRIBUTION)
        page.write(report, comparison, gallery_vectors(self.encoded))

    def _asked(self, part: Benchmark, folder: Path) -> Asked:
        """The queries in arrays; a masked reference is the one that was embedded with the masked region blanked."""
        asked = Asked.of(part, self.encoded)
        masked = [place for place, query in enumerate(part.queries) if query.mask]
        if not masked:
            return asked
        masks = torch.zeros(len(part.queries), MASK_SIZE, MASK_SIZE, dtype=torch.bool)
        references = asked.references.copy()
        for place in masked:
            query = part.queries[place]
            cells = np.asarray(read_picture(folder / query.mask).convert("L")) > 127
            row = self.encoded.masked_row(query.reference, cells)
            if row is None:
                raise InputInvalid(f"{query.reference} is not embedded with {query.mask}; run: dvc repro embed")
            masks[place], references[place] = given_cells(cells), self.encoded.masked[row]
        return asked.masked(references, masks)


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
    excluded = [[query.reference] for query in benchmark.queries]
    found = [index.search(part.astype(np.float32), SERVED, excluded) for part in similarity.parts]
    rows, scores = (np.concatenate(each, axis=1) for each in zip(*found, strict=True))
    names = index.pictures["picture_id"].to_numpy()
    hits = []
    for query, of_query, order in zip(benchmark.queries, rows, np.argsort(-scores, axis=1), strict=True):
        ranked = dict.fromkeys(of_query[order][of_query[order] >= 0])  # a picture that several draws found counts once
        hits.append(any(name in query.targets for name in names[list(ranked)[:SERVED]]))
    return float(np.mean(hits))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
