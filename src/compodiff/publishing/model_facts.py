"""What is known of a model that is published: its parts, dials, figures, and what it learned from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compodiff.hub import read_known
from compodiff.model.checkpoint import WEIGHTS, ModelCard
from compodiff.search.composer import Composer
from compodiff.search.locate import ModelParts
from compodiff.sets import open_set
from compodiff.storage.digests import digest_file
from compodiff.storage.json_files import read_json
from compodiff.tracking.figures import read_measured_digest

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class EncoderModel:
    """A model that the encoder is made of; hub_id: where the hub has it, None where it is part of what is published."""

    name: str
    digest: str
    hub_id: str | None
    licence: str


@dataclass(frozen=True)
class ModelFacts:
    """What a model's card says.

    Attributes:
        name: of the model at the hub.
        licence: of the weights, as the hub names it.
        card: of the composed model.
        digest: sha256 of the composed model's weights.
        encoder: the models that the encoder is made of.
        dials: how the model is asked unless a query says otherwise.
        figures: benchmark -> what its metrics file holds.
        left_out: metrics files that measure other weights.
        sources: set that the model learned from -> whose it is, in words.
    """

    name: str
    licence: str
    card: ModelCard
    digest: str
    encoder: tuple[EncoderModel, ...]
    dials: Mapping[str, Any]
    figures: Mapping[str, Mapping[str, Any]]
    left_out: tuple[Path, ...]
    sources: Mapping[str, str]


def read_facts(parts: ModelParts, name: str, licence: str, results: Path) -> ModelFacts:
    """Open a model as a search would, and say what is known of it.

    Args:
        parts: the model's folders.
        name: of the model at the hub.
        licence: of the weights.
        results: folder with metrics/ and sets/ of the project that made the model, such as artifacts.

    Raises:
        CheckpointMismatch: the model is damaged or not whole.
        EncoderMismatch: the model was made with another encoder.
        InputInvalid: a metrics file is damaged.
    """
    composer = Composer.load(parts.composed, parts.encoder)
    digest = digest_file(parts.composed / WEIGHTS)
    measured = {file: read_json(file) for file in sorted((results / "metrics").glob("*.json"))}
    of_this = {file: content for file, content in measured.items() if read_measured_digest(content, file) == digest}
    return ModelFacts(
        name=name,
        licence=licence,
        card=composer.card,
        digest=digest,
        encoder=tuple(_list_encoder(read_json(parts.encoder / "manifest.json"))),
        dials=composer.sampling.model_dump(),
        figures={file.stem: content for file, content in of_this.items()},
        left_out=tuple(sorted(set(measured) - set(of_this))),
        sources={name: _read_licence(results / "sets" / name) for name in _list_sets(composer.card.trained_with)},
    )


def _list_encoder(manifest: Mapping[str, Any]) -> Iterator[EncoderModel]:
    """Yield the models of an encoder's manifest, which names parts, or one model (release 0.2 and before)."""
    licences = {known.hub_id: known.licence for known in read_known().values()}
    told = [manifest["picture"], *manifest["texts"]] if "picture" in manifest else [manifest]
    for part in {part["weights_digest"]: part for part in told}.values():
        hub_id = part.get("hub_id")
        yield EncoderModel(part["name"], part["weights_digest"], hub_id, licences.get(str(hub_id), NOT_RECORDED))


def _list_sets(trained_with: Mapping[str, Any]) -> list[str]:
    """Return the names of the sets that any of the trainings drew from."""
    tasks = [each for section in trained_with.values() if isinstance(section, Mapping) for each in _list_tasks(section)]
    return sorted({name for shares in tasks for name in shares})


def _list_tasks(section: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    tasks = section.get("tasks")
    return list(tasks.values()) if isinstance(tasks, Mapping) else []


def _read_licence(dataset: Path) -> str:
    return (open_set(dataset).description.licence or NOT_RECORDED) if dataset.is_dir() else NOT_RECORDED
