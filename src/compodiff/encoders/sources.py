"""Where the model of a part lies: in the hub's cache, in a folder, in a file, or in open_clip's list."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compodiff.encoders.manifest import OPEN_CLIP, SENTENCE_TRANSFORMERS, TRANSFORMERS, PicturePart, TextPart
from compodiff.errors import InputInvalid
from compodiff.hub import find_model, read_known
from compodiff.params import PartParams

# What says whose form a folder has, the most special first.
OPEN_CLIP_CONFIG = "open_clip_config.json"
_MARKS = {OPEN_CLIP_CONFIG: OPEN_CLIP, "modules.json": SENTENCE_TRANSFORMERS, "config.json": TRANSFORMERS}
_LIBRARIES = (OPEN_CLIP, TRANSFORMERS, SENTENCE_TRANSFORMERS)


@dataclass(frozen=True)
class Source:
    """A model, whichever parts are taken of it.

    name: a hub id, open_clip's name, or that of a folder. folder: with its files, as the library saves them.
    weights: a file of them, where there is no folder. hub_id, revision: whose cached files it is, if any.
    tag: open_clip's, of published weights. quick_gelu: whether the activation is that one, whatever the name says.
    """

    library: str
    name: str
    folder: Path | None = None
    weights: Path | None = None
    tag: str | None = None
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

    def list_weights(self) -> list[Path]:
        """Return the files of its weights.

        Raises:
            InputInvalid: there are none in safetensors.
        """
        if self.folder is None:
            return [self.weights] if self.weights else []
        pattern = "**/*.safetensors" if self.library == SENTENCE_TRANSFORMERS else "*.safetensors"
        found = sorted(self.folder.glob(pattern))
        named = [path for path in found if path.name.startswith("open_clip") == (self.library == OPEN_CLIP)]
        if not found:
            raise InputInvalid(f"{self.name} has no weights in safetensors ({self.folder})")
        return named or found

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
    if asked.library == OPEN_CLIP and "/" not in asked.name and asked.name not in read_known():
        return find_listed_source(asked.name, asked.weights)
    if asked.weights is not None:
        raise InputInvalid(
            f"{asked.name} has weights of its own; only a model of open_clip's list takes others ({asked.weights})"
        )
    if Path(asked.name).is_dir():
        folder = Path(asked.name)
        return Source(asked.library or _find_library(folder, asked.name), folder.resolve().name, folder)
    found = find_model(asked.name)
    library = asked.library or (found.known.library if found.known else _find_library(found.folder, asked.name))
    if library not in _LIBRARIES:
        raise InputInvalid(f"{asked.name} is no encoder, but of {library}; take one of compodiff get --list")
    return Source(
        library,
        (found.known.architecture if found.known else None) or found.hub_id,
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
    own = Source(part.library, part.name, quick_gelu=part.activation == "quick_gelu" or None)
    if part.hub_id is not None:
        folder = find_model(part.hub_id, part.revision).folder
        return replace(own, folder=folder, hub_id=part.hub_id, revision=part.revision)
    return replace(own, folder=saved) if saved.is_dir() else replace(own, weights=saved)


def find_listed_source(name: str, weights: str | None) -> Source:
    """Return where a model of open_clip's list lies.

    Args:
        name: open_clip's.
        weights: one of its tags, whose weights are in the hub's cache; a file; None for random weights.

    Raises:
        InputInvalid: open_clip has no such model, or the weights are neither a tag of it nor a file.
        ResourceUnavailable: the tag's weights are not on this machine; the message names the command that fetches them.
    """
    import open_clip

    if name not in open_clip.list_models():
        known = "python -c 'import open_clip; print(open_clip.list_models())'"
        raise InputInvalid(f"open_clip has no model {name!r}; its models: {known}")
    if weights is None or Path(weights).is_file():
        return Source(OPEN_CLIP, name, weights=None if weights is None else Path(weights))
    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights not in tags:
        raise InputInvalid(f"{weights} is neither a file of weights nor a tag of {name} ({', '.join(tags)})")
    published = open_clip.get_pretrained_cfg(name, weights)
    found = find_model("/".join(published["hf_hub"].split("/")[:2]))
    quick_gelu = published.get("quick_gelu")
    return Source(
        OPEN_CLIP, name, found.folder, tag=weights, hub_id=found.hub_id, revision=found.revision, quick_gelu=quick_gelu
    )


# Models that open_clip's list names without their organisation.
_ORGANISATIONS = {
    "bert-base-uncased": "google-bert",
    "roberta-base": "FacebookAI",
    "xlm-roberta-base": "FacebookAI",
    "xlm-roberta-large": "FacebookAI",
}


def find_folder(name: str) -> Path:
    """Return the folder of a model that another one is made of, as open_clip's configurations name it.

    Raises:
        ResourceUnavailable: it is not on this machine; the message names the command that fetches it.
    """
    if Path(name).is_dir():
        return Path(name)
    return find_model(f"{_ORGANISATIONS[name]}/{name}" if name in _ORGANISATIONS else name).folder


def _find_library(folder: Path, name: str) -> str:
    for mark, library in _MARKS.items():
        if (folder / mark).is_file():
            return library
    raise InputInvalid(f"{name} is no encoder: it has none of {', '.join(_MARKS)}")
