"""What `compodiff push` does: gather the files of a model or a set, write the card, and put all of it on the hub."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compodiff.errors import InputInvalid
from compodiff.hub.known import Address, parse_address
from compodiff.hub.uploading import upload_files
from compodiff.inspection.card import DatasetOrigin, write_card
from compodiff.interchange.exporting import export_set
from compodiff.model.dials import FILE as DIALS
from compodiff.publishing.model_card import render_card
from compodiff.publishing.model_facts import ModelFacts
from compodiff.search.locate import ModelParts
from compodiff.sets import open_set
from compodiff.signing.chain import CHAIN, SIGNATURE, require_intact
from compodiff.storage.scratch import open_scratch

CARD = "README.md"
SET = "compodiff.json"  # of a published set: which one it is


@dataclass(frozen=True)
class Pushed:
    """What was put on the hub: at which commit, which files, and how many bytes they have."""

    address: Address
    commit: str
    files: tuple[str, ...]
    size: int


def parse_target(to: str, kind: str) -> Address:
    """Return the place at the hub; of a set `datasets/` may be left out.

    Raises:
        InputInvalid: it is no hub id, or one of the other kind, or it names a revision.
    """
    bare = to.removeprefix("datasets/")
    address = parse_address(bare if kind == "model" else f"datasets/{bare}")
    if "@" in to or not parse_address(bare).hub_id == bare == address.hub_id:
        raise InputInvalid(f"{to!r} is no place to publish to; write ORG/NAME, without a revision")
    if kind == "model" and bare != to:
        raise InputInvalid(f"{to!r} is a place for a set, and this is a model; write ORG/NAME")
    return address


def push_model(parts: ModelParts, facts: ModelFacts, to: Address, *, is_private: bool) -> Pushed:
    """Publish a model with its encoder, its dials, its chain and signature, what was measured, and its card.

    Raises:
        CheckpointMismatch: the model is not what its chain says.
        InputInvalid: the place holds something else.
        ResourceUnavailable: hub, network or right is missing.
    """
    require_intact(parts.folder)
    folders = {"composed": parts.composed, "encoder": parts.encoder}
    files: dict[str, Path | bytes] = {
        f"{name}/{path.relative_to(folder).as_posix()}": path
        for name, folder in folders.items()
        for path in _list_files(folder)
    }
    if not (parts.folder / CHAIN).is_file():  # which names all files that there may be
        files[DIALS] = _encode(facts.dials)
    files |= {path.name: path for path in (parts.folder / name for name in (DIALS, CHAIN, SIGNATURE)) if path.is_file()}
    files |= {f"metrics/{name}.json": _encode(content) for name, content in facts.figures.items()}
    files[CARD] = render_card(facts).encode()
    return _upload(to, files, "composed/config.json", is_private=is_private)


def push_set(dataset: Path, origin: DatasetOrigin, to: Address, *, validated: Path | None, is_private: bool) -> Pushed:
    """Publish a set with its pictures inside, as webdataset tars, and its card; of a validated set what was accepted.

    Raises:
        InputInvalid: there is no set, a picture is missing or damaged, or the place holds something else.
        ResourceUnavailable: hub, network, right or disk space is missing.
    """
    with open_scratch() as temporary:
        card, tars = temporary / "card", temporary / "tars"
        write_card(dataset, card, origin, validated)
        export_set(str(dataset), "webdataset", tars, validated)
        files: dict[str, Path | bytes] = {f"data/{path.name}": path for path in _list_files(tars)}
        files |= {path.relative_to(card).as_posix(): path for path in _list_files(card)}
        made = open_set(dataset).description
        files[SET] = _encode({"kind": made.kind, "digest": made.digest, "licence": made.licence, "source": made.source})
        return _upload(to, files, SET, is_private=is_private)


def _upload(to: Address, files: Mapping[str, Path | bytes], proof: str, *, is_private: bool) -> Pushed:
    commit = upload_files(to, files, proof=proof, message="Publish by compodiff push", is_private=is_private)
    sizes = (len(file) if isinstance(file, bytes) else file.stat().st_size for file in files.values())
    return Pushed(to, commit, tuple(sorted(files)), sum(sizes))


def _list_files(folder: Path) -> list[Path]:
    """Return the files of a folder, but for hidden ones: markers of this program, and what file managers leave."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _encode(content: object) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
