"""What experiments stand on: the project's artifacts, its params, and the benchmark that is asked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from torch import Tensor

from compodiff.benchmarks.answers import RetrievalModel
from compodiff.benchmarks.datasets.assembled import Assembled, open_assembled
from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkQuery
from compodiff.benchmarks.datasets.embedding import CACHE
from compodiff.benchmarks.datasets.loading import BenchmarkChoices, load_benchmark
from compodiff.benchmarks.edited_regions import RegionEncoder
from compodiff.benchmarks.run import EmbeddingSource, make_masks
from compodiff.benchmarks.scoring.ranking import Floats
from compodiff.embeddings import Embeddings
from compodiff.encoders import load_encoder
from compodiff.errors import InputInvalid
from compodiff.experiments.embedded_benchmark import EmbeddedBenchmark, load_field_benchmark
from compodiff.params import Params, SamplingParams, load_params
from compodiff.signing.lineage import compute_dvc_digest

ARTIFACTS = "artifacts"
MODELS = ("prior", "composed")
SEEDED = ("prior", "composed", "distillation", "sampling")
SPLITS = ("validation", "test")


@dataclass(frozen=True)
class ExperimentSetup:
    """What an experiment is given.

    Attributes:
        project: the folder with params.yaml, data/ and artifacts/.
        params: of the project.
        benchmark: the benchmark that is asked.
        training_steps: updates of each training that an experiment needs; None for those of params.yaml.
        work: where trained models are kept, so that a run that was killed continues.
        regions: embeds what is inside and outside of the regions in which references and targets differ.
    """

    project: Path
    params: Params
    benchmark: EmbeddedBenchmark
    training_steps: int | None
    work: Path
    regions: RegionEncoder

    @classmethod
    def of_project(
        cls, project: Path, benchmark: str | None, root: Path | None, split: str, training_steps: int | None
    ) -> "ExperimentSetup":
        """Read the artifacts of a project, and embed a benchmark (once) that is not in its params.yaml.

        Args:
            project: its folder.
            benchmark: a name in params.yaml, or a format of `benchmark run`; None takes the gallery's of the index.
            root: folder of a benchmark that params.yaml does not name.
            split: of a benchmark of params.yaml: validation, or test, which is what evaluate scores.
            training_steps: updates of each training; None for those of params.yaml.

        Raises:
            InputInvalid: there is no such benchmark or split, or `root` is missing.
        """
        params = load_params(project / "params.yaml")
        name, artifacts, chunk = benchmark or params.index.gallery, project / ARTIFACTS, params.evaluation.chunk
        if root is not None:
            encoder = load_encoder(artifacts / "encoder").prepare_for_many()
            regions = RegionEncoder(root, lambda: encoder)
            parts = load_benchmark(name, root, None, BenchmarkChoices())
            embedded = load_field_benchmark(parts, root, encoder, project / CACHE, params.embedding, chunk)
        elif name in params.benchmarks:
            assembled = open_assembled(artifacts / "benchmarks" / name)
            embeddings = Embeddings.load(artifacts / "benchmark_embeddings" / name)
            source = EmbeddingSource(embeddings, _make_masks_when_asked(assembled.home, artifacts / "encoder"))
            embedded = EmbeddedBenchmark.of(f"{name} {split}", _load_split(assembled, split), source, chunk)
            regions = RegionEncoder(assembled.home, lambda: load_encoder(artifacts / "encoder").prepare_for_many())
        else:
            known = ", ".join(params.benchmarks)
            raise InputInvalid(f"params.yaml has no benchmark {name}; it has: {known}")
        return cls(project, params, embedded, training_steps, artifacts / "experiments" / "models", regions)

    def reseed(self, seed: int) -> "ExperimentSetup":
        """Return the same with seeds of trainings and sampling that lie `seed` beyond those of params.yaml."""
        content = self.params.model_dump()
        for section in SEEDED:
            content[section]["seed"] += seed
        return replace(self, params=Params.model_validate(content))

    def digest_models(self) -> dict[str, str]:
        """Return the digests of the pipeline's prior and composed model, as dvc.lock has them."""
        return {name: str(compute_dvc_digest(self.find_artifact(name))) for name in MODELS}

    @property
    def embeddings(self) -> Embeddings:
        """Embeddings of the benchmark."""
        return self.benchmark.source.embeddings

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
        """Load the composed model of the pipeline."""
        return RetrievalModel.load(self.find_artifact("composed"), sampling or self.params.sampling, self.embeddings)

    def load_prior(self) -> RetrievalModel:
        """Load the prior of the pipeline, asked by text alone."""
        return RetrievalModel.load(
            self.find_artifact("prior"), self.params.sampling, self.embeddings, has_reference=False
        )

    def change_sampling(self, **changes: float | int | str) -> SamplingParams:
        """Return the section `sampling` with some values changed."""
        return SamplingParams.model_validate(self.params.sampling.model_dump() | changes)


def _load_split(assembled: Assembled, split: str) -> list[Benchmark]:
    """Load what is chosen by, or what is reported; a benchmark without a validation split has one for both.

    Raises:
        InputInvalid: `split` is neither.
    """
    if split not in SPLITS:
        raise InputInvalid(f"there is no split {split!r}; choose {' or '.join(SPLITS)}")
    own = assembled.split if split == "test" else assembled.validation or assembled.split
    return [replace(part, name=assembled.name) for part in assembled.load(own)]


def _make_masks_when_asked(home: Path, encoder: Path) -> Callable[[Benchmark, BenchmarkQuery], tuple[Tensor, Floats]]:
    """Return what embeds masked references, and loads the encoder for the first of them."""

    @cache
    def load() -> Callable[[Benchmark, BenchmarkQuery], tuple[Tensor, Floats]]:
        return make_masks(home, load_encoder(encoder).move_to_gpu())

    def make(part: Benchmark, query: BenchmarkQuery) -> tuple[Tensor, Floats]:
        return load()(part, query)

    return make
