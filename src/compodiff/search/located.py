"""What a search is over, found without torch: the model's folders and the index's, and one name for the pair."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from compodiff.bundled import NAME as BUNDLED
from compodiff.errors import InputInvalid
from compodiff.index import MANIFEST
from compodiff.index.stamp import stamp
from compodiff.project import find_home, find_index_home
from compodiff.search.locate import (
    ChosenModel,
    ModelParts,
    choose_model,
    find_gallery_of,
    find_index_folder,
    find_model_parts,
)

DEMO = "demo"  # folder at home, with gallery/ and queries


@dataclass(frozen=True)
class LocatedSearch:
    """A model and an index; `is_default` where the index is the model's own, over the project's gallery."""

    chosen: ChosenModel
    parts: ModelParts
    index: Path
    is_default: bool

    def find_pictures_root(self) -> Path | None:
        """Return the folder of the pictures, if it is not where the index says.

        Raises:
            ParamsInvalid, InputInvalid, IndexMismatch: see `find_gallery_of`.
        """
        return find_gallery_of(self.parts, self.chosen.project) if self.is_default else None

    def identify(self) -> str:
        """Return what names model and index as they are now: the same on the server that has them open."""
        files = (self.parts.composed / "model.safetensors", self.parts.encoder / MANIFEST)
        states = [(str(path.resolve()), *_read_state(path)) for path in files]
        content = json.dumps([states, str(self.index.resolve()), stamp(self.index)])
        return hashlib.sha256(content.encode()).hexdigest()


def locate_search(model: str | None, index: Path | None) -> LocatedSearch:
    """Find the model and the index that are meant; without an index, that of the model's own pictures.

    The model of the installation has none of its own: those of `compodiff demo`, after that has run.

    Raises:
        InputInvalid: there is no such model, or it has no pictures.
        ResourceUnavailable: the registry cannot be reached.
    """
    index = index or _find_demo(model)
    chosen = choose_model(model, index)
    parts = find_model_parts(chosen)
    if index is not None:
        return LocatedSearch(chosen, parts, find_index_folder(index), is_default=False)
    return LocatedSearch(chosen, parts, parts.index, is_default=True)


def find_demo_gallery() -> Path:
    """Return the folder of the demonstration's pictures; it may not be there yet."""
    return find_home() / DEMO / "gallery"


def _find_demo(model: str | None) -> Path | None:
    """Return the demonstration's gallery, where that is what a search without an index is over.

    Raises:
        InputInvalid: it would be, and is not there.
    """
    name = choose_model(model).name
    if not BUNDLED.fullmatch(name):
        return None
    gallery = find_demo_gallery()
    if not find_index_home(gallery).is_dir():
        raise InputInvalid(
            "name a folder of pictures with --index, after: compodiff index build FOLDER; "
            "or make the demonstration's first: compodiff demo"
        )
    return gallery


def _read_state(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:  # whoever opens the model says what is wrong with it
        return (0, 0, 0)
    return (status.st_size, status.st_mtime_ns, status.st_ino)
