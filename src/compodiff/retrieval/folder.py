"""An index over a folder of the user's own pictures: each is encoded once, and a build that was killed continues.

What is encoded is put down in `<index>.parts/` batch by batch under the sha256 of the picture's bytes, so neither a
kill nor a moved or renamed file costs the work again.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from compodiff.atomic import atomic_path
from compodiff.encoders import Encoder
from compodiff.encoders.manifest import EncoderManifest
from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.params import IndexParams
from compodiff.retrieval import index
from compodiff.retrieval.index import Floats, Index
from compodiff.retrieval.manifest import MANIFEST, read_manifest
from compodiff.retrieval.pictures import COLUMNS, decode, loose_pictures

BATCH = 64  # pictures encoded, and put down, at a time
_NAMED_IN_ERROR = 5

Row = tuple[str, str, str, int, int, str]  # COLUMNS


@dataclass(frozen=True)
class FolderBuild:
    """What a build did; `unreadable` maps a file to the reason."""

    index: Path
    pictures: int
    encoded: int
    unreadable: dict[str, str]


@dataclass(frozen=True)
class FolderStatus:
    """How an index and its folder differ: paths from the folder, sorted."""

    added: list[str]
    changed: list[str]
    removed: list[str]


class Parts:
    """Embeddings by sha256 of the picture's bytes: those of an earlier index and those of a build that was killed."""

    def __init__(self, folder: Path, earlier: Path, encoder: EncoderManifest) -> None:
        """Collect what `encoder` has made: in the parts at `folder` and in the index at `earlier`, if it stands."""
        identity = json.dumps(encoder.to_json(), sort_keys=True).encode()
        self._folder = folder / hashlib.sha256(identity).hexdigest()[:16]
        self._known: dict[str, Floats] = {}
        if (earlier / MANIFEST).is_file() and read_manifest(earlier).encoder == encoder:
            old = Index.load(earlier)
            self._known.update(zip(old.pictures["sha256"], old.embeddings, strict=True))
        for part in sorted(self._folder.glob("*.npz")):
            with np.load(part, allow_pickle=False) as arrays:
                self._known.update(zip(arrays["sha256"].tolist(), arrays["embeddings"], strict=True))

    def __contains__(self, sha256: str) -> bool:
        """Whether the picture with these bytes is encoded."""
        return sha256 in self._known

    def add(self, embeddings: dict[str, Floats]) -> None:
        """Put down the embeddings of one batch."""
        name = hashlib.sha256("".join(embeddings).encode()).hexdigest()[:16]
        with atomic_path(self._folder / f"{name}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, sha256=np.array(list(embeddings)), embeddings=np.stack(list(embeddings.values())))
        self._known.update(embeddings)

    def gather(self, sha256: Iterable[str]) -> Floats:
        """Embeddings (N, D) of the pictures with these bytes, in their order."""
        return np.stack([self._known[digest] for digest in sha256])


def build_folder_index(
    folder: Path, out: Path, encoder: Encoder, params: IndexParams, *, skip_unreadable: bool, files: Iterable[Path]
) -> FolderBuild:
    """Encode the pictures of `folder` and put an index over them at `out`.

    Args:
        folder: the folder that paths are relative to.
        out: where the index will stand; an earlier index there lends its embeddings.
        encoder: the encoder of the model that will search.
        params: kind of index and its numbers.
        skip_unreadable: leave out pictures that do not decode instead of refusing to build.
        files: `loose_pictures(folder)`, wrapped in a progress bar or not.

    Raises:
        InputInvalid: there is no picture, none decodes, or one does not and `skip_unreadable` is off.
        ResourceUnavailable: `out` cannot be written.
    """
    staging = out.with_name(f"{out.name}.parts")
    parts = Parts(_writable(staging), out, encoder.manifest)
    rows: list[Row] = []
    unreadable: dict[str, str] = {}
    pending: dict[str, Tensor] = {}
    encoded = 0
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            name.encode()
            content = path.read_bytes()
            sha256 = hashlib.sha256(content).hexdigest()
            if sha256 not in parts and sha256 not in pending:
                pending[sha256] = encoder.preprocess(decode(content))
        except (OSError, InputInvalid, UnicodeEncodeError) as error:
            unreadable[name] = str(error)
            continue
        rows.append((name, name, name, 0, len(content), sha256))
        if len(pending) == BATCH:
            encoded += _encode(parts, encoder, pending)
    encoded += _encode(parts, encoder, pending)
    _judge(folder, rows, unreadable, skip_unreadable=skip_unreadable)
    table = pd.DataFrame(rows, columns=COLUMNS)
    root = ".." if out.parent == folder else str(folder.resolve())
    embeddings = parts.gather(table["sha256"])
    index.build(out, embeddings=embeddings, pictures=table, encoder=encoder.manifest, params=params, pictures_root=root)
    shutil.rmtree(staging)
    return FolderBuild(out, len(rows), encoded, unreadable)


def folder_status(index_folder: Path, folder: Path) -> FolderStatus:
    """Compare the index at `index_folder` with the bytes that are now in `folder`."""
    table = Index.load(index_folder).pictures
    indexed = dict(zip(table["path"], table["sha256"], strict=True))
    present = dict(_digests(folder))
    return FolderStatus(
        added=sorted(present.keys() - indexed.keys()),
        changed=sorted(path for path in present.keys() & indexed.keys() if present[path] != indexed[path]),
        removed=sorted(indexed.keys() - present.keys()),
    )


def _encode(parts: Parts, encoder: Encoder, pending: dict[str, Tensor]) -> int:
    """Encode and put down what is pending, and empty it; return how many."""
    count = len(pending)
    if count:
        embeddings = encoder.encode_pixels(torch.stack(list(pending.values()))).cpu().numpy()
        parts.add(dict(zip(pending, embeddings, strict=True)))
        pending.clear()
    return count


def _judge(folder: Path, rows: list[Row], unreadable: dict[str, str], *, skip_unreadable: bool) -> None:
    total = len(rows) + len(unreadable)
    if not total:
        raise InputInvalid(f"no JPEG, PNG, WebP or GIF picture in {folder} or below")
    if unreadable and not (rows and skip_unreadable):
        named = "; ".join(f"{name} ({why})" for name, why in list(unreadable.items())[:_NAMED_IN_ERROR])
        more = ", ..." if len(unreadable) > _NAMED_IN_ERROR else ""
        way_out = "mend or remove them, or add --skip-unreadable" if rows else "nothing is left to index"
        raise InputInvalid(f"{len(unreadable)} of {total} pictures do not decode: {named}{more}; {way_out}")


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    for path in loose_pictures(folder):
        with path.open("rb") as file:
            yield path.relative_to(folder).as_posix(), hashlib.file_digest(file, "sha256").hexdigest()


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceUnavailable(f"cannot write {folder}: {error.strerror}; name another place with --out") from error
    return folder
