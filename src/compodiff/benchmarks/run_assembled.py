"""Run a benchmark of params.yaml, as the pipeline assembled and embedded it, and write its figures and its report."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compodiff.benchmarks.answers import RetrievalModel, read_gallery_vectors
from compodiff.benchmarks.baselines import BaselineDials
from compodiff.benchmarks.datasets.assembled import Assembled, open_assembled
from compodiff.benchmarks.edited_regions import RegionEncoder
from compodiff.benchmarks.report.comparison import COMPOSED, Comparison, ReportLayout
from compodiff.benchmarks.report.showcase import Showcase
from compodiff.benchmarks.run import BenchmarkRun, EmbeddingSource, make_masks, run_benchmark
from compodiff.embeddings import Embeddings
from compodiff.encoders import Encoder, load_encoder
from compodiff.encoders.memo import NAME as MEMO
from compodiff.params import EvaluationParams
from compodiff.storage.atomic import write_json

RECALLS = ("recall_at_1", "recall_at_5", "recall_at_10")  # of one's own triplets; others report their protocol's


@dataclass(frozen=True)
class EmbeddedBenchmark:
    """An assembled benchmark with the embeddings of all that it names."""

    assembled: Assembled
    embeddings: Embeddings

    @classmethod
    def load(cls, assembled: Path, embeddings: Path) -> "EmbeddedBenchmark":
        """Open what the stages assemble_benchmark and embed_benchmark wrote.

        Raises:
            InputInvalid: one of them is missing or damaged.
        """
        return cls(open_assembled(assembled), Embeddings.load(embeddings))

    def score(
        self,
        models: Mapping[str, RetrievalModel],
        encoder: Path,
        evaluation: EvaluationParams,
        settings: Mapping[str, Any],
    ) -> Comparison:
        """Answer the queries by the baselines and by each model.

        Args:
            models: row name -> model; `composed` is among them.
            encoder: its folder, for masked references.
            evaluation: how answers are scored.
            settings: what the record gets beside the benchmark's own.

        Raises:
            InputInvalid: a picture, a text or a mask has no embedding.
        """
        it = self.assembled
        scored = [replace(part, name=it.name) for part in it.load(it.split)]
        baselines = it.load(it.validation)[0] if it.validation else BaselineDials()
        source = EmbeddingSource(self.embeddings, make_masks(it.home, load_encoder(encoder).move_to_gpu()))
        regions = RegionEncoder(it.home, lambda: _load_remembering(encoder))
        return run_benchmark(BenchmarkRun(scored, source, models, baselines, evaluation, settings, regions=regions))

    def write(self, comparison: Comparison, evaluation: EvaluationParams, *, metrics: Path, report: Path) -> None:
        """Write the figures to the file `metrics` and the pages to the folder `report`."""
        it = self.assembled
        names = RECALLS if it.format == "triplets" else tuple(comparison.summaries[COMPOSED]["metrics"])
        page = ReportLayout(f"Benchmark {it.name}", names, Showcase.of(evaluation), it.attribution)
        write_json(metrics, comparison.describe_recalls(names))
        page.write(report, comparison, read_gallery_vectors(self.embeddings))


def _load_remembering(folder: Path) -> Encoder:
    """Load an encoder; where earlier stages keep what they embed, so does it."""
    encoder, memo = load_encoder(folder).prepare_for_many(), folder.with_name(MEMO)
    return encoder.remember_in(memo) if memo.exists() else encoder
