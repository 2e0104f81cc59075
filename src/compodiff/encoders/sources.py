"""Where the model of a part lies: in the hub's cache, in a folder, in a file, or in open_clip's list."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compodiff.encoders.manifest import OPEN_CLIP, SENTENCE_TRANSFORMERS, TRANSFORMERS, PicturePart, TextPart
from compodiff.errors import InputInvalid
from compodiff.hub import find_model
from compodiff.params import PartParams

# What says whose form a folder has, the most special first.
_MARKS = {"open_clip_config.json": OPEN_CLIP, "modules.json": SENTENCE_TRANSFORMERS, "config.json": TRANSFORMERS}
_LIBRARIES = (OPEN_CLIP, TRANSFORMERS, SENTENCE_TRANSFORMERS)


@dataclass(frozen=True)
class Source:
    """A model, whichever parts are taken of it.

    name: a hub id, open_clip's name, or that of a folder. folder: with its files, as the library saves them.
    weights: of a model of open_clip's list: a tag or a file. hub_id, revision: whose cached files it is, if any.
    """

    library: str
    name: str
    folder: Path | None = None
    weights: str | None = None
    hub_id: str | None = None
    revision: str | None = None
    quick_gelu: bool | None = None

    def require_folder(self) -> Path:
        """Return the folder of its files.

        Raises:
            InputInvalid: there is none.
        """
        if self.folder is None:
            raise InputInvalid(f"{self.name} is neither a folder nor a model that the hub's cache holds")
        return self.folder

    def describe(self, weights_digest: str) -> dict[str, Any]:
        """Return the fields of a part that say which model it is of."""
        return {
            "library": self.library,
            "name": self.name,
            "weights_digest": weights_digest,
            "hub_id": self.hub_id,
            "revision": self.revision,
        }


def find_source(asked: PartParams) -> Source:
    """Return where the model of a part lies that params name; the network is never used.

    Raises:
        InputInvalid: nothing is known by that name, or it is no encoder.
        ResourceUnavailable: it is not on this machine; the message names the command that fetches it.
    """
    if asked.library == OPEN_CLIP and "/" not in asked.name:
        return Source(OPEN_CLIP, asked.name, weights=asked.weights)
    if Path(asked.name).is_dir():
        folder = Path(asked.name)
        return Source(asked.library or _find_library(folder, asked.name), folder.resolve().name, folder)
    found = find_model(asked.name)
    library = asked.library or (found.known.library if found.known else _find_library(found.folder, asked.name))
    if library not in _LIBRARIES:
        raise InputInvalid(f"{asked.name} is no encoder, but of {library}; take one of compodiff get --list")
    return Source(
        library,
        found.hub_id,
        found.folder,
        hub_id=found.hub_id,
        revision=found.revision,
        quick_gelu=found.known.quick_gelu if found.known and library == OPEN_CLIP else None,
    )


def find_stored_source(part: PicturePart | TextPart, saved: Path) -> Source:
    """Return where the model of a part lies that a manifest names.

    Args:
        part: as stored.
        saved: the file or folder that holds its weights where no hub's cache does.

    Raises:
        ResourceUnavailable: it is not on this machine; the message names the command that fetches it.
    """
    own = Source(part.library, part.name, quick_gelu=part.activation == "quick_gelu")
    if part.hub_id is not None:
        folder = find_model(part.hub_id, part.revision).folder
        return replace(own, folder=folder, hub_id=part.hub_id, revision=part.revision)
    return replace(own, folder=saved) if saved.is_dir() else replace(own, weights=str(saved))


def _find_library(folder: Path, name: str) -> str:
    for mark, library in _MARKS.items():
        if (folder / mark).is_file():
            return library
    raise InputInvalid(f"{name} is no encoder: it has none of {', '.join(_MARKS)}")
