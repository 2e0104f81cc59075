"""What experiments stand on: the project's artifacts, its params, and the benchmark that is asked."""

from dataclasses import dataclass
from pathlib import Path

from compodiff.benchmarks.answers import Answering
from compodiff.embeddings import Embeddings
from compodiff.errors import InputInvalid
from compodiff.experiments.embedded_benchmark import Bench
from compodiff.params import Params, SamplingParams

ARTIFACTS = "artifacts"


@dataclass(frozen=True)
class Ground:
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
    bench: Bench
    is_emoji: bool
    split: str
    training_steps: int
    work: Path

    def artifact(self, name: str) -> Path:
        """The path of a stage's output.

        Raises:
            InputInvalid: it is not there.
        """
        path = self.project / ARTIFACTS / name
        if not path.exists():
            raise InputInvalid(f"{path} is not there; run: make run")
        return path

    def composed(self, sampling: SamplingParams | None = None) -> Answering:
        """The composed model of the pipeline."""
        return Answering.load(self.artifact("composed"), sampling or self.params.sampling, self.embeddings)

    def prior(self) -> Answering:
        """The prior of the pipeline, asked by text alone."""
        return Answering.load(self.artifact("prior"), self.params.sampling, self.embeddings, has_reference=False)

    def sampling(self, **changes: float | int | str) -> SamplingParams:
        """The section `sampling` with some values changed."""
        return SamplingParams.model_validate(self.params.sampling.model_dump() | changes)
