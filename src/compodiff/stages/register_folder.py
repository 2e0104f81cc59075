"""A model that the pipeline did not train, registered as the stage register does with one that it did."""

from collections.abc import Mapping
from pathlib import Path

from compodiff.benchmarks.datasets.assembled import open_assembled
from compodiff.benchmarks.datasets.embedding import CACHE, embed_benchmark, find_present
from compodiff.encoders import Encoder
from compodiff.model.checkpoint import WEIGHTS
from compodiff.model.dials import FILE as DIALS
from compodiff.params import Params, load_params
from compodiff.search.composer import Composer
from compodiff.search.locate import ModelParts, find_gallery_of
from compodiff.stages.build_index import index_gallery
from compodiff.storage.digests import digest_file
from compodiff.storage.scratch import open_scratch
from compodiff.tracking.figures import read_figures, require_figures_of
from compodiff.tracking.registry import ModelCandidate, RegisteredVersion, register_model


def register_folder(
    project: Path, model: ModelParts, results: Mapping[str, Path], registration: str = ""
) -> RegisteredVersion:
    """Register a model that the pipeline did not train, as the challenger.

    It keeps its index over a person's own pictures where it has one, else it gets one of the project's gallery.

    Args:
        project: the folder that holds params.yaml.
        model: its folders.
        results: a file of figures by the name of the benchmark in params.yaml, of `compodiff benchmark run --json`.
        registration: see `ModelCandidate`.

    Raises:
        CheckpointMismatch, EncoderMismatch: the model is damaged, or made of parts that do not fit.
        InputInvalid: the gallery is not there, or a file is no result, or one of another model.
        ResourceUnavailable: MLflow cannot be reached, the disk is full, or a part of the encoder is not fetched.
    """
    params = load_params(project / "params.yaml")
    figures = {name: read_figures(file) for name, file in results.items()}
    composer = Composer.load(model.composed, model.encoder)  # what cannot answer is not registered
    for file in results.values():
        require_figures_of(file, digest_file(model.composed / WEIGHTS), composer.sampling)
    with open_scratch() as temporary:
        index = model.index
        if not (index.is_dir() and find_gallery_of(model) is None):
            index = temporary / "index"
            _index_gallery(project, composer.encoder, params, index)
        folders = {"composed": model.composed, "encoder": model.encoder, "index": index}
        files = list(results.values())
        dials = model.folder / DIALS
        return register_model(project, ModelCandidate(folders, dials, figures, files, registration=registration))


def _index_gallery(project: Path, encoder: Encoder, params: Params, index: Path) -> None:
    """Index the project's gallery by an encoder that may not have embedded it yet."""
    assembled = open_assembled(project / "artifacts" / "benchmarks" / params.index.gallery)
    there = find_present(assembled.load(assembled.split), skip_missing=False)
    encoded = embed_benchmark(there, encoder.prepare_for_many(), project / CACHE, params.embedding)
    index_gallery(assembled, encoded, params.index, index)
