"""An index over a folder of the user's own pictures: built, added to, removed from; one writer at a time.

A picture is encoded once (parts.py), and readers see the old index until the new one stands whole.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from compodiff.encoders import Encoder
from compodiff.encoders.manifest import EncoderManifest
from compodiff.errors import IndexMismatch, InputInvalid, ResourceUnavailable
from compodiff.params import IndexParams
from compodiff.retrieval import index, metadata
from compodiff.retrieval.duplicates import Looks, grouped
from compodiff.retrieval.index import GROUP, LOOKS, Floats, Index
from compodiff.retrieval.manifest import MANIFEST
from compodiff.retrieval.parts import Parts, stacked
from compodiff.retrieval.pictures import COLUMNS, loose_pictures

_NAMED_IN_ERROR = 5

Row = tuple[str, str, str, int, int, str]  # COLUMNS


@dataclass(frozen=True)
class FolderBuild:
    """What a build did; `unreadable` maps a file to the reason."""

    index: Path
    pictures: int
    encoded: int
    unreadable: dict[str, str] = field(default_factory=dict)
    removed: int = 0


@dataclass(frozen=True)
class FolderStatus:
    """How an index and its folder differ: paths from the folder, sorted."""

    added: list[str]
    changed: list[str]
    removed: list[str]


def build_folder_index(
    folder: Path,
    out: Path,
    encoder: Encoder,
    params: IndexParams,
    *,
    skip_unreadable: bool,
    files: Iterable[Path],
    columns: Path | None = None,
    keep: bool = False,
) -> FolderBuild:
    """Encode the pictures of `folder` and put an index over them at `out`.

    Args:
        folder: the folder that paths are relative to.
        out: where the index will stand; an earlier index there lends its embeddings.
        encoder: the encoder of the model that will search.
        params: kind of index and its numbers.
        skip_unreadable: leave out pictures that do not decode instead of refusing to build.
        files: `loose_pictures(folder)`, wrapped in a progress bar or not; with `keep`, the pictures to add.
        columns: a parquet or CSV file with more about each picture.
        keep: leave the pictures that an earlier index holds in it, unread, unless they are among `files`.

    Raises:
        InputInvalid: there is no picture, none decodes, one does not and `skip_unreadable` is off, or `columns` does
            not fit.
        EncoderMismatch, IndexMismatch: with `keep`, what is kept was made with another encoder, or is damaged.
        ResourceUnavailable: `out` cannot be written, or is being written by another.
    """
    staging = out.with_name(f"{out.name}.parts")
    with _alone(out):
        parts = Parts(_writable(staging), out, encoder)
        rows, unreadable = _scanned(folder, files, parts)
        _judge(folder, rows, unreadable, skip_unreadable=skip_unreadable)
        fresh = _fresh(folder, rows, parts, columns, encoder.manifest.embedding_dim)
        earlier = Index.load(out) if (out / MANIFEST).is_file() else None
        whole = fresh
        if earlier is not None and keep:
            earlier.require_encoder(encoder.manifest)
            whole = _kept(earlier, set(fresh.table["picture_id"])).followed_by(fresh)
        _write(folder, out, encoder.manifest, params, whole, earlier)
        shutil.rmtree(staging)
    return FolderBuild(out, len(whole.table), parts.encoded, unreadable)


def remove_from_index(folder: Path, out: Path, params: IndexParams, names: Iterable[str]) -> FolderBuild:
    """Take pictures out of the index at `out`; none is read or encoded.

    Args:
        folder: of the pictures.
        out: the index.
        params: kind of index and its numbers.
        names: paths from `folder`.

    Raises:
        InputInvalid: there is no index, it does not hold one of `names`, or nothing would be left.
        ResourceUnavailable: `out` cannot be written, or is being written by another.
    """
    gone = set(names)
    with _alone(out):
        earlier = Index.load(out)
        if strange := sorted(gone - earlier.row.keys()):
            raise InputInvalid(f"the index {out} holds no picture {strange[0]!r}; see: compodiff index status {folder}")
        if len(gone) == earlier.manifest.count:
            raise InputInvalid(f"nothing would be left in {out}; remove the folder itself to have no index")
        if gone:
            _write(folder, out, earlier.manifest.encoder, params, _kept(earlier, gone), earlier)
    return FolderBuild(out, earlier.manifest.count - len(gone), 0, removed=len(gone))


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


@dataclass(frozen=True)
class _Pictures:
    """Rows of an index to be: their table, embeddings (N, D), looks (N, 16, 16, 3), and the groups of the first."""

    table: pd.DataFrame
    embeddings: Floats
    looks: Looks
    known: Sequence[int] = ()

    def followed_by(self, more: "_Pictures") -> "_Pictures":
        return _Pictures(
            pd.concat([self.table, more.table], ignore_index=True) if len(self.table) else more.table,
            np.concatenate([self.embeddings, more.embeddings]),
            np.concatenate([self.looks, more.looks]),
            self.known,
        )


def _scanned(folder: Path, files: Iterable[Path], parts: Parts) -> tuple[list[Row], dict[str, str]]:
    """Rows of the files, all of them encoded; and the files that cannot be, with the reason."""
    rows: list[Row] = []
    unreadable: dict[str, str] = {}
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            name.encode()
            content = path.read_bytes()
            sha256 = hashlib.sha256(content).hexdigest()
            if sha256 not in parts:
                parts.add(sha256, content)
        except (OSError, InputInvalid, UnicodeEncodeError) as error:
            unreadable[name] = str(error)
            continue
        rows.append((name, name, name, 0, len(content), sha256))
    parts.flush()
    return rows, unreadable


def _fresh(folder: Path, rows: Sequence[Row], parts: Parts, columns: Path | None, dim: int) -> _Pictures:
    table = pd.DataFrame(rows, columns=COLUMNS)
    names = table["path"].tolist()
    gathered = parts.gather(table["sha256"].tolist())
    shapes = pd.DataFrame([part.shape for part in gathered], columns=["width", "height"], dtype="int64")
    table = pd.concat([table, metadata.of_files(folder, names), shapes], axis=1)
    if columns is not None:
        table = pd.concat([table, metadata.of_table(columns, names, [*table.columns, GROUP])], axis=1)
    return _Pictures(table, *stacked(gathered, dim))


def _kept(earlier: Index, gone: set[str]) -> _Pictures:
    """The pictures of an index but those that are `gone`.

    Raises:
        IndexMismatch: the index does not know how its pictures look, being no index of a folder.
    """
    if not (earlier.folder / LOOKS).is_file():
        raise IndexMismatch(f"the index {earlier.folder} cannot be changed; make it anew: compodiff index build")
    rows = np.flatnonzero(~earlier.pictures["picture_id"].isin(gone).to_numpy())
    table = earlier.pictures.iloc[rows].reset_index(drop=True)
    looks = np.load(earlier.folder / LOOKS, mmap_mode="r", allow_pickle=False)
    first: dict[str, int] = {}
    known = [first.setdefault(group, row) for row, group in enumerate(table[GROUP])]
    return _Pictures(table, np.asarray(earlier.embeddings[rows]), np.asarray(looks[rows]), known)


def _write(
    folder: Path,
    out: Path,
    encoder: EncoderManifest,
    params: IndexParams,
    pictures: _Pictures,
    earlier: Index | None,
) -> None:
    groups = grouped(pictures.embeddings, pictures.looks, pictures.known, params.duplicate_cosine)
    table = pictures.table.assign(**{GROUP: pictures.table["picture_id"].to_numpy()[groups]})
    index.build(
        out,
        embeddings=pictures.embeddings,
        pictures=table,
        encoder=encoder,
        params=params,
        pictures_root=".." if out.parent == folder else str(folder.resolve()),
        looks=pictures.looks,
        earlier=earlier,
    )


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Refuse to write where another is writing; the lock is on the folder that the index stands in."""
    descriptor = os.open(_writable(out.parent), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ResourceUnavailable(f"another compodiff index is writing in {out.parent}; wait for it to end") from error
    finally:
        os.close(descriptor)


def _judge(folder: Path, rows: Sequence[Row], unreadable: dict[str, str], *, skip_unreadable: bool) -> None:
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
