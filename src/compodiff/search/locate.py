"""Which model and index are meant: a folder, a name that was fetched, or what an alias of the registry stands for.

Nothing here imports torch: a search that a running server answers goes this way, too.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from compodiff.bundled import NAME as BUNDLED
from compodiff.bundled import find_bundled_name
from compodiff.errors import InputInvalid
from compodiff.hub import find_fetched_folder, read_known
from compodiff.index import INSIDE, MADE_BY, MANIFEST
from compodiff.project import find_home, find_index_home, find_models_home, find_project_root

CHAMPION = "models:/compodiff@champion"
INSTALLED = "installed"  # the model that this release of the package carries, by whatever name it has
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


@dataclass(frozen=True)
class ChosenModel:
    """A model by its name, and the project whose registry a name of models:/ is of; None for the one around here."""

    name: str
    project: Path | None = None

    def find_project(self) -> Path:
        """Return the project.

        Raises:
            InputInvalid: none is named, and the current folder lies in none.
        """
        return self.project or find_project_root()

    def to_json(self) -> dict[str, str]:
        """Return what an index says of the model that made it, to be found again from any folder."""
        if self.name.startswith("models:"):
            return {"model": self.name, "project": str(self.find_project())}
        return {"model": str(Path(self.name).resolve()) if Path(self.name).is_dir() else self.name}


def choose_model(model: str | None, index: Path | None = None) -> ChosenModel:
    """Return the model that is meant.

    That is the one named; else the one that made the index; else, in a project, its champion; else the one that this
    release of the package carries.

    Args:
        model: as somebody named it; None for none.
        index: a folder of pictures with an index, or an index; None, or nothing there, for none.

    Raises:
        InputInvalid: none is named, and there is no other.
    """
    if model == INSTALLED:
        model = _require_bundled()
    if model is not None:
        return ChosenModel(model)
    if index is not None and (maker := _read_maker(find_index_folder(index))):
        return maker
    try:
        return ChosenModel(CHAMPION, find_project_root())
    except InputInvalid:
        return ChosenModel(_require_bundled())


def find_model_parts(model: str | ChosenModel) -> ModelParts:
    """Find a model: an alias (models:/compodiff@champion), a version (models:/compodiff/3), a folder, a name of `get`.

    The model of this release is unpacked when it is first asked for.

    Raises:
        InputInvalid: the alias stands for no version, the folder lacks composed/ or encoder/, or the known model was
            not fetched.
        ResourceUnavailable: the registry cannot be reached, or the fetched model is not whole.
    """
    chosen = model if isinstance(model, ChosenModel) else choose_model(model)
    model = chosen.name
    if model.startswith("models:"):
        found = _REGISTERED.fullmatch(model)
        if not found:
            raise InputInvalid(
                f"{model} is no model of this project; "
                "its models are models:/compodiff@ALIAS and models:/compodiff/NUMBER"
            )
        from compodiff.tracking.version_files import find_model_folder

        return ModelParts(find_model_folder(chosen.find_project(), found["alias"] or found["number"]))
    parts = ModelParts(_find_folder(model))
    for part in (parts.composed, parts.encoder):
        if not part.is_dir():
            named = f"a folder with composed/ and encoder/, a model of `compodiff get`, or {CHAMPION}"
            raise InputInvalid(f"{part} is not there; name {named}")
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
    if name == find_bundled_name():
        from compodiff.bundled.unpacking import unpack_model

        return unpack_model(find_models_home())
    if BUNDLED.fullmatch(name):
        raise InputInvalid(
            f"the model {name} is of another release of compodiff and not on this machine; install that release, "
            "or make the index again with the model that is here: compodiff index build FOLDER --model MODEL"
        )
    return find_fetched_folder(model) or Path(model)


def _require_bundled() -> str:
    name = find_bundled_name()
    if name is None:
        raise InputInvalid(
            f"{Path.cwd()} lies in no CompoDiff project (no params.yaml in it or above), and this installation carries "
            "no model, as a released wheel does; run this inside a project, or name a model with --model"
        )
    return name


def _read_maker(index: Path) -> ChosenModel | None:
    """Return the model that made the index at `index`, where it says so."""
    try:
        made_by = json.loads((index / MANIFEST).read_text(encoding="utf-8")).get(MADE_BY, {})
    except (OSError, ValueError, AttributeError):
        return None  # whoever opens the index says what is wrong with it
    if not isinstance(made_by, dict) or not isinstance(name := made_by.get("model"), str):
        return None
    project = made_by.get("project")
    if isinstance(project, str) and not (Path(project) / "params.yaml").is_file():
        raise InputInvalid(
            f"the index {index} was made by {name} of the project {project}, which is not there; "
            "bring it back, or make the index again: compodiff index build FOLDER --model MODEL"
        )
    return ChosenModel(name, Path(project) if isinstance(project, str) else None)


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


def find_gallery_of(parts: ModelParts, project: Path | None = None) -> Path | None:
    """Return the folder with the pictures of a model's own index: the project's gallery; None where the index says it.

    Raises:
        ParamsInvalid, InputInvalid: see `find_gallery`; or the model has no index.
        IndexMismatch: its index is damaged.
    """
    from compodiff.index.manifest import read_manifest

    is_of_own_pictures = Path(read_manifest(parts.index).pictures_root).is_absolute()
    return None if is_of_own_pictures else find_gallery(project or find_project_root())


def find_index_folder(folder: Path) -> Path:
    """Return the index that is meant by a folder of pictures, in it or at home, or by the index's own folder."""
    inside, at_home = folder / INSIDE, find_index_home(folder)
    if inside.is_dir():
        return inside
    return at_home if at_home.is_dir() and not (folder / MANIFEST).is_file() else folder


def choose_index_place(folder: Path) -> Path:
    """Return where the index of a folder of pictures stands, or will: in it, or at home where it may not be written."""
    found = find_index_folder(folder)
    if found != folder:
        return found
    is_at_home = folder.is_relative_to(find_home())  # what is there is replaced as a whole
    return folder / INSIDE if os.access(folder, os.W_OK) and not is_at_home else find_index_home(folder)
