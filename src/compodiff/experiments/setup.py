"""What experiments stand on: the project's artifacts, its params, and the benchmark that is asked."""

from dataclasses import dataclass
from pathlib import Path

from compodiff.benchmarks.answers import RetrievalModel
from compodiff.benchmarks.datasets.loading import BenchmarkChoices, load_benchmark
from compodiff.benchmarks.embedding import CACHE, embed_benchmark, find_present
from compodiff.embeddings import Embeddings
from compodiff.encoders import load_encoder
from compodiff.errors import InputInvalid
from compodiff.experiments.embedded_benchmark import EMOJI, EmbeddedBenchmark, open_emoji_benchmark
from compodiff.params import Params, SamplingParams, load_params

ARTIFACTS = "artifacts"


@dataclass(frozen=True)
class ExperimentSetup:
    """What an experiment is given.

    Attributes:
        project: the folder with params.yaml, data/ and artifacts/.
        params: of the project.
        embeddings: artifacts/embeddings.
        bench: the benchmark that is asked.
        is_emoji: whether that is the pipeline's own.
        split: the split of the pipeline's own data that is looked at.
        training_steps: updates of each training that an experiment needs.
        work: where trained models are kept, so that a run that was killed continues.
    """

    project: Path
    params: Params
    embeddings: Embeddings
    bench: EmbeddedBenchmark
    is_emoji: bool
    split: str
    training_steps: int
    work: Path

    @classmethod
    def of_project(cls, project: Path, benchmark: str, root: Path | None, split: str, steps: int) -> "ExperimentSetup":
        """Read the artifacts of a project, and embed a benchmark (once) that is not its own.

        Raises:
            InputInvalid: `root`, the folder of a benchmark that is not emoji, is not given.
        """
        params = load_params(project / "params.yaml")
        artifacts = project / ARTIFACTS
        embeddings = Embeddings.load(artifacts / "embeddings")
        if benchmark == EMOJI:
            bench = open_emoji_benchmark(artifacts / "benchmark", embeddings, split, params.evaluation.chunk)
        elif root is None:
            raise InputInvalid(f"where is {benchmark}? name its folder with --root")
        else:
            parts = load_benchmark(benchmark, root, None, BenchmarkChoices())
            encoder = load_encoder(artifacts / "encoder").prepare_for_many()
            there = find_present(parts, skip_missing=False)
            own = embed_benchmark(there, encoder, project / CACHE, params.embedding)
            bench = EmbeddedBenchmark.of(there.parts[0].label, there.parts, own, params.evaluation.chunk)
        work = artifacts / "experiments" / "models"
        return cls(project, params, embeddings, bench, benchmark == EMOJI, split, steps, work)

    def find_artifact(self, name: str) -> Path:
        """Return the path of a stage's output.

        Raises:
            InputInvalid: it is not there.
        """
        path = self.project / ARTIFACTS / name
        if not path.exists():
            raise InputInvalid(f"{path} is not there; run: make run")
        return path

    def load_composed(self, sampling: SamplingParams | None = None) -> RetrievalModel:
        """Return the composed model of the pipeline."""
        return RetrievalModel.load(self.find_artifact("composed"), sampling or self.params.sampling, self.embeddings)

    def load_prior(self) -> RetrievalModel:
        """Return the prior of the pipeline, asked by text alone."""
        prior = self.find_artifact("prior")
        return RetrievalModel.load(prior, self.params.sampling, self.embeddings, has_reference=False)

    def change_sampling(self, **changes: float | int | str) -> SamplingParams:
        """Return the section `sampling` with some values changed."""
        return SamplingParams.model_validate(self.params.sampling.model_dump() | changes)
