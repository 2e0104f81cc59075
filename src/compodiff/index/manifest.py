"""What stands beside an index and says what it is; readable without FAISS."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from compodiff.encoders.manifest import EncoderManifest
from compodiff.errors import CompoDiffError, EncoderMismatch, IndexMismatch, InputInvalid, ResourceUnavailable
from compodiff.index import MADE_BY, MANIFEST
from compodiff.index.stamp import stamp
from compodiff.machine import is_on_network
from compodiff.storage.digests import digest_file
from compodiff.storage.names import is_inside
from compodiff.storage.ownership import find_retired, is_marked, mark_folder, require_replaceable_folder

KIND = "index"

Opened = TypeVar("Opened")

_REMEDY = "remove the folder and build it again"
_REPLACED_WITHIN = 2.0  # seconds that a reader waits for an index that is just being replaced


@dataclass(frozen=True)
class Segments:
    """What an index at size is made of (index/segments).

    Attributes:
        parts: of each segment, the rows of each of its shards.
        probes: lists that a query visits.
        removed: file of a bit a row, set where it was taken out; "" where none was.
        measured: recall and latency, by the command that built it.
        engine: address and collection that are searched in place of the lists, and rows that were sent; {} for none.
    """

    parts: list[list[int]]
    probes: int
    removed: str
    measured: dict[str, Any]
    engine: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class IndexManifest:
    """What an index was built from and how; `files` maps a file's name to its `bytes` and `sha256`."""

    kind: str
    dim: int
    count: int
    rerank: int  # candidates per result that are scored again exactly; 0 for none
    encoder: EncoderManifest
    pictures_root: str  # folder of the pictures, relative to the index or absolute
    files: dict[str, dict[str, Any]]
    segments: Segments | None = None  # None of an index that was made in memory
    made_by: dict[str, str] = field(default_factory=dict)  # the model, as `ChosenModel.to_json`; of a folder's index
    chosen: str = ""  # why it is of its kind, where vectors were indexed (segments/choosing.py)

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON types."""
        content = {**vars(self), "encoder": self.encoder.to_json()}
        content |= {"segments": vars(self.segments) if self.segments else None}
        optional = ("segments", MADE_BY, "chosen")
        return {key: value for key, value in content.items() if value or key not in optional}


def read_manifest(folder: Path) -> IndexManifest:
    """Read the manifest of the index at `folder`.

    Raises:
        InputInvalid: there is no index.
        IndexMismatch: its manifest is not one of this version.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        segments = Segments(**content["segments"]) if "segments" in content else None
        encoder = EncoderManifest.from_json(content["encoder"])
        manifest = IndexManifest(**{**content, "encoder": encoder, "segments": segments})
        if outside := [name for name in manifest.files if not is_inside(name)]:
            raise make_damage_error(folder, f"{outside[0]!r} leads out of it")
        return manifest
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputInvalid(f"there is no index at {folder}; run: compodiff index build FOLDER") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, EncoderMismatch) as error:
        raise make_damage_error(folder, f"{MANIFEST} is not a manifest of this version") from error


def require_segments(manifest: IndexManifest) -> Segments:
    """Return what an index at size is made of.

    Raises:
        InputInvalid: it is not made of segments.
    """
    if manifest.segments is None:
        raise InputInvalid("the index is not made of segments; build it again: compodiff index from-embeddings")
    return manifest.segments


def require_replaceable_index(folder: Path) -> None:
    """Check that nothing of anybody's is lost when the index at `folder` is replaced; there may be none.

    Raises:
        InputInvalid: `folder` holds something that is no index of ours.
    """
    if not is_marked(folder) and (folder / MANIFEST).is_file():
        with suppress(IndexMismatch):  # an index of release 0.1, which wrote no markers, names its files itself
            mark_folder(folder, KIND, (*read_manifest(folder).files, MANIFEST))
    require_replaceable_folder(folder, KIND)


def require_folder(index: Path, manifest: IndexManifest, folder: Path) -> None:
    """Refuse the index of another folder: the names of both would be mixed.

    Raises:
        InputInvalid: the pictures of the index at `index` are not those of `folder`.
    """
    root = (index / manifest.pictures_root).resolve()
    if root != folder.resolve():
        raise InputInvalid(
            f"the index {index} is of the folder {root}, not of {folder}; "
            "name another place with --out, or remove the index if the folder was moved"
        )


def make_damage_error(folder: Path, fault: str) -> IndexMismatch:
    """Return the error of an index whose files are not what was written."""
    return IndexMismatch(f"the index {folder} is damaged: {fault}; {_REMEDY}")


def list_damaged_files(folder: Path) -> list[str]:
    """Return names of the files at `folder` whose bytes are no longer those that were written; reads every byte."""
    written = read_manifest(folder).files
    return [name for name, file in written.items() if make_fingerprint(folder / name) != file]


def make_fingerprint(path: Path) -> dict[str, Any]:
    """Return the size and sha256 of a file; of a missing one, nothing."""
    if not path.is_file():
        return {}
    return {"bytes": path.stat().st_size, "sha256": digest_file(path)}


def open_array(path: Path, *, mapped: bool | None = None) -> Any:
    """Open an array of an index, memory-mapped; one on a network is read whole where `mapped` does not say.

    Raises:
        IndexMismatch: it is missing or damaged.
    """
    from compodiff.storage import arrays

    mapped = not is_on_network(path.parent) if mapped is None else mapped
    try:
        return arrays.open_array(path, mapped=mapped, remedy=_REMEDY)
    except InputInvalid as error:
        raise IndexMismatch(str(error)) from error


def open_settled(folder: Path, opened: Callable[[], Opened]) -> Opened:
    """Return what `opened` makes of the index at `folder`, all of one writing; wait for one that is being replaced.

    Raises:
        ResourceUnavailable: it was replaced again and again.
        CompoDiffError: as `opened` does on an index that stays as it is.
    """
    deadline = time.monotonic() + _REPLACED_WITHIN
    while True:
        before = stamp(folder)
        try:
            made = opened()
            if stamp(folder) == before:
                return made
        except (CompoDiffError, OSError):
            if stamp(folder) == before and not find_retired(folder):  # no writer is between two indices
                raise
        if time.monotonic() > deadline:
            raise ResourceUnavailable(f"the index {folder} is being replaced repeatedly; try again later")
        time.sleep(0.02)
