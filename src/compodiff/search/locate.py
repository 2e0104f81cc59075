"""Which model and index are meant: a folder, a name that was fetched, or what an alias of the registry stands for."""

import re
from dataclasses import dataclass
from pathlib import Path

from compodiff.errors import InputInvalid
from compodiff.hub import find_fetched_folder, read_known
from compodiff.index import INSIDE
from compodiff.project import find_models_home, find_project_root
from compodiff.signing.chain import require_intact

CHAMPION = "models:/compodiff@champion"
_REGISTERED = re.compile(r"models:/compodiff(?:@(?P<alias>[^/@]+)|/(?P<number>[0-9]+))")
_NAME = re.compile(r"[\w-][\w.-]*")


@dataclass(frozen=True)
class ModelParts:
    """The folders of one model: composed/, encoder/ and, over the default gallery, index/."""

    folder: Path

    @property
    def composed(self) -> Path:
        """The composed model."""
        return self.folder / "composed"

    @property
    def encoder(self) -> Path:
        """The encoder it works with."""
        return self.folder / "encoder"

    @property
    def index(self) -> Path:
        """The index of the default gallery, made with that encoder."""
        return self.folder / "index"


def find_model_parts(model: str) -> ModelParts:
    """Find a model: an alias (models:/compodiff@champion), a version (models:/compodiff/3), a folder, a name of `get`.

    Raises:
        InputInvalid: the alias stands for no version, the folder lacks composed/ or encoder/, or the known model was
            not fetched.
        ResourceUnavailable: the registry cannot be reached, or the fetched model is not whole.
    """
    if model.startswith("models:"):
        found = _REGISTERED.fullmatch(model)
        if not found:
            raise InputInvalid(
                f"{model} is no model of this project; "
                "its models are models:/compodiff@ALIAS and models:/compodiff/NUMBER"
            )
        from compodiff.tracking.registry import find_model_folder

        return ModelParts(find_model_folder(find_project_root(), found["alias"] or found["number"]))
    parts = ModelParts(_find_folder(model))
    for part in (parts.composed, parts.encoder):
        if not part.is_dir():
            named = f"a folder with composed/ and encoder/, a model of `compodiff get`, or {CHAMPION}"
            raise InputInvalid(f"{part} is not there; name {named}")
    return parts


def find_intact_parts(model: str) -> ModelParts:
    """Find a model as `find_model_parts` does, and compare its files with its chain, where it has one.

    Raises:
        CheckpointMismatch: it is not what its chain says, or not signed where that is asked for.
    """
    parts = find_model_parts(model)
    require_intact(parts.folder)
    return parts


def _find_folder(model: str) -> Path:
    """Return the folder that a path, a name of the known or of a person's own models, or a hub id stands for."""
    if Path(model).is_dir():
        return Path(model)
    known = next((each for each in read_known().values() if model in (each.name, each.hub_id)), None)
    is_made = known is not None and known.library == "released"  # what was fetched is no model yet
    name = known.name if known is not None and is_made else model
    if _NAME.fullmatch(name) and (own := find_models_home() / name).is_dir():
        return own
    if is_made:
        raise InputInvalid(f"the model {name} is not on this machine; run: compodiff get {name}")
    return find_fetched_folder(model) or Path(model)


def find_gallery(project: Path) -> Path:
    """Return the folder with the pictures of the default gallery: of the benchmark that `index.gallery` names.

    Raises:
        ParamsInvalid: params.yaml does not fit.
        InputInvalid: the benchmark is not there.
    """
    from compodiff.benchmarks.datasets.assembled import open_assembled
    from compodiff.params import load_params

    name = load_params(project / "params.yaml").index.gallery
    folder = project / "artifacts" / "benchmarks" / name
    if not folder.is_dir():
        raise InputInvalid(
            f"the pictures of the default gallery are not there ({folder}); run: dvc repro assemble_benchmark@{name}"
        )
    return open_assembled(folder).gallery


def find_gallery_of(parts: ModelParts) -> Path | None:
    """Return the folder with the pictures of a model's own index: the project's gallery; None where the index says it.

    Raises:
        ParamsInvalid, InputInvalid: see `find_gallery`; or the model has no index.
        IndexMismatch: its index is damaged.
    """
    from compodiff.index.manifest import read_manifest

    is_of_own_pictures = Path(read_manifest(parts.index).pictures_root).is_absolute()
    return None if is_of_own_pictures else find_gallery(find_project_root())


def find_index_folder(folder: Path) -> Path:
    """Return the index that is meant by a folder of pictures with one inside, or by the index's own folder."""
    inside = folder / INSIDE
    return inside if inside.is_dir() else folder
