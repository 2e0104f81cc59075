"""What becomes of a fine-tuned model: scored beside the one that it began as, registered, put to its own gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compodiff.benchmarks.answers import RetrievalModel
from compodiff.benchmarks.report.comparison import COMPOSED
from compodiff.benchmarks.run import digest_weights
from compodiff.benchmarks.run_assembled import EmbeddedBenchmark
from compodiff.encoders import EncoderManifest, read_edit_maps
from compodiff.errors import InputInvalid
from compodiff.index.index import Index
from compodiff.model.checkpoint import ModelCard
from compodiff.model.dials import FILE as DIALS
from compodiff.model.dials import read_dials
from compodiff.params import EvaluationParams, SamplingParams
from compodiff.stages.finetune import CURVE, METRICS, REPORTS, require_fit
from compodiff.tracking.figures import read_figures
from compodiff.tracking.registry import FINETUNED, ModelCandidate, RegisteredVersion, register_model
from compodiff.tracking.signature import read_card

BEFORE = "before"  # the row of the model that it began as


@dataclass(frozen=True)
class FinetunedScores:
    """How a fine-tuned model is scored.

    Attributes:
        artifacts: holds benchmarks/NAME and benchmark_embeddings/NAME.
        names: of the benchmarks.
        evaluation: how answers are scored.
        sampling: how models are asked that have no dials of their own.
    """

    artifacts: Path
    names: Sequence[str]
    evaluation: EvaluationParams
    sampling: SamplingParams

    def require_benchmarks(self, model: Path) -> None:
        """Check, before hours are spent on training, that each benchmark can be asked of `model`.

        Raises:
            InputInvalid: one is not embedded.
            EncoderMismatch: one was embedded by another encoder than the model's.
        """
        for name in self.names:
            if not (self.artifacts / "benchmark_embeddings" / name).is_dir():
                raise InputInvalid(
                    f"the benchmark {name} of params.yaml, on which the model is scored, is not embedded; "
                    f"run: dvc repro embed_benchmark@{name}, or leave it out by --no-score"
                )
            require_fit(ModelCard.from_json(read_card(model)), self._open(name).embeddings.encoder, model)

    def score(self, folder: Path, before: Path, encoder: Path) -> dict[str, dict[str, Any]]:
        """Write metrics/NAME.json and reports/NAME below the model's folder; return the figures of each benchmark.

        Args:
            folder: of the fine-tuned model.
            before: the composed model that it began as.
            encoder: that both work with.

        Raises:
            InputInvalid, CheckpointMismatch, EncoderMismatch: something that is read is damaged, or does not fit.
        """
        figures = {}
        for name in self.names:
            embedded = self._open(name)
            models = {
                row: self._load(path, embedded, encoder)
                for row, path in {BEFORE: before, COMPOSED: folder / "composed"}.items()
            }
            settings = {
                "encoder": embedded.embeddings.encoder.to_json(),
                "weights_digest": {BEFORE: digest_weights(before), COMPOSED: digest_weights(folder / "composed")},
                "sampling": models[COMPOSED].sampling.model_dump() | {"precision": models[COMPOSED].precision},
                "min_relation_queries": self.evaluation.min_relation_queries,
            }
            comparison = embedded.score(models, encoder, self.evaluation, settings)
            metrics = folder / METRICS / f"{name}.json"
            metrics.parent.mkdir(exist_ok=True)
            embedded.write(comparison, self.evaluation, metrics=metrics, report=folder / REPORTS / name)
            figures[name] = read_figures(metrics)
        return figures

    def _open(self, name: str) -> EmbeddedBenchmark:
        return EmbeddedBenchmark.load(
            self.artifacts / "benchmarks" / name, self.artifacts / "benchmark_embeddings" / name
        )

    def _load(self, model: Path, embedded: EmbeddedBenchmark, encoder: Path) -> RetrievalModel:
        edits = read_edit_maps(encoder)
        loaded = RetrievalModel.load(model, self.sampling, embedded.embeddings, edits=edits)
        return loaded.sample_with(read_dials(model, loaded.card) or self.sampling)


def is_finetuned(folder: Path) -> bool:
    """Return whether `compodiff finetune` wrote a folder."""
    return (folder / CURVE).is_file()


def register_finetuned(project: Path, folder: Path) -> RegisteredVersion:
    """Register a fine-tuned model with its figures, and the project's index, as the challenger.

    Args:
        project: the folder that holds params.yaml and artifacts/.
        folder: that `compodiff finetune` wrote.

    Raises:
        InputInvalid: it holds no fine-tuned model, or one that was not scored.
        IndexMismatch: the project's index is of another encoder.
        ResourceUnavailable: MLflow cannot be reached, or the disk is full.
    """
    card = read_card(folder / "composed")
    measured = sorted((folder / METRICS).glob("*.json"))
    if not measured:
        raise InputInvalid(f"{folder} holds no figures of a benchmark; run compodiff finetune without --no-score")
    index = project / "artifacts" / "index"
    if not index.is_dir():
        raise InputInvalid(f"{index} is not there; run: dvc repro build_index")
    Index.load(index).require_encoder(EncoderManifest.from_json(card["encoder"]))
    own_dials = folder / DIALS
    candidate = ModelCandidate(
        folders={"composed": folder / "composed", "encoder": folder / "encoder", "index": index},
        dials=own_dials if own_dials.is_file() else project / "artifacts" / DIALS,
        figures={file.stem: read_figures(file) for file in measured},
        files=[*measured, folder / REPORTS, folder / CURVE],
        made_by=FINETUNED,
    )
    return register_model(project, candidate)
