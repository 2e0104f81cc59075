"""An index over a folder of the user's own pictures: built, added to, removed from; one writer at a time.

A picture is encoded once (parts.py), and readers see the old index until the new one stands whole.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from compodiff.encoders import Encoder
from compodiff.encoders.manifest import EncoderManifest
from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.images import COLUMNS, loose_pictures
from compodiff.params import IndexParams
from compodiff.retrieval import index, metadata
from compodiff.retrieval.duplicates import NEW, grouped
from compodiff.retrieval.earlier import UNSURE, Earlier, Pictures, Stamp, stamp_of
from compodiff.retrieval.index import GROUP, Index
from compodiff.retrieval.parts import Parts, stacked

_NAMED_IN_ERROR = 5

Row = tuple[str, str, str, int, int, str]  # COLUMNS


@dataclass(frozen=True)
class Todo:
    """What a build takes in, and how.

    Attributes:
        files: `loose_pictures(folder)`, wrapped in a progress bar or not; with `keep`, the pictures to add.
        skip_unreadable: leave out pictures that do not decode instead of refusing to build.
        keep: leave the pictures that an earlier index holds in it, unread, unless they are among `files`.
        checksum: read every file, even one whose size, time and inode are those that the earlier index knows.
        columns: a parquet or CSV file with more about each picture.
    """

    files: Iterable[Path]
    skip_unreadable: bool = False
    keep: bool = False
    checksum: bool = False
    columns: Path | None = None


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
    todo: Todo,
) -> FolderBuild:
    """Encode the pictures of `folder` and put an index over them at `out`.

    Args:
        folder: the folder that paths are relative to.
        out: where the index will stand; an earlier index there lends its embeddings.
        encoder: the encoder of the model that will search.
        params: kind of index and its numbers.
        todo: which files are taken in, and how.

    Raises:
        InputInvalid: there is no picture, none decodes, one does not and they are not skipped, or `todo.columns`
            does not fit.
        EncoderMismatch, IndexMismatch: with `todo.keep`, what is kept was made with another encoder, or is damaged.
        ResourceUnavailable: `out` cannot be written, or is being written by another.
    """
    staging = out.with_name(f"{out.name}.parts")
    with _alone(out):
        earlier = Earlier.at(out)
        parts = Parts(_writable(staging), earlier, encoder)
        scan = _scanned(folder, todo.files, parts, None if todo.checksum else earlier)
        _judge(folder, scan, skip_unreadable=todo.skip_unreadable)
        whole = _pictures(folder, scan, parts, todo.columns, encoder.manifest.embedding_dim)
        if earlier is not None and todo.keep:
            earlier.index.require_encoder(encoder.manifest)
            whole = earlier.without(set(whole.table["picture_id"])).followed_by(whole)
        _write(folder, out, encoder.manifest, params, whole, earlier)
        shutil.rmtree(staging)
    return FolderBuild(out, len(whole.table), parts.encoded, scan.unreadable)


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
        earlier = Earlier(Index.load(out))
        held = earlier.index
        if strange := sorted(gone - held.row.keys()):
            raise InputInvalid(f"the index {out} holds no picture {strange[0]!r}; see: compodiff index status {folder}")
        if len(gone) == held.manifest.count:
            raise InputInvalid(f"nothing would be left in {out}; remove the folder itself to have no index")
        if gone:
            _write(folder, out, held.manifest.encoder, params, earlier.without(gone), earlier)
    return FolderBuild(out, held.manifest.count - len(gone), 0, removed=len(gone))


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
class _Scan:
    """The files of a folder: rows of those that are encoded, with their stamps and times, and why others are not."""

    rows: list[Row] = field(default_factory=list)
    stamps: list[Stamp] = field(default_factory=list)
    modified_ns: list[int] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


def _scanned(folder: Path, files: Iterable[Path], parts: Parts, earlier: Earlier | None) -> _Scan:
    """Encode the files that have not been; those that are as `earlier` saw them are not read."""
    scan = _Scan()
    above = len(f"{folder}/")
    for path in files:
        name = str(path)[above:]
        try:
            name.encode()
            status = path.stat()
            stamp = stamp_of(status)
            sha256 = earlier.unchanged(name, stamp) if earlier else None
            if sha256 is None or sha256 not in parts:
                status, stamp, sha256 = _taken_in(path, parts)
        except (OSError, InputInvalid, UnicodeEncodeError) as error:
            scan.unreadable[name] = str(error)
            continue
        scan.rows.append((name, name, name, 0, status.st_size, sha256))
        scan.stamps.append(stamp)
        scan.modified_ns.append(status.st_mtime_ns)
    parts.flush()
    return scan


def _taken_in(path: Path, parts: Parts) -> tuple[os.stat_result, Stamp, str]:
    """Read a file; its status and stamp, from before its bytes, and their sha256."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        stamp, content = stamp_of(status), file.read()
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 not in parts:
        parts.add(sha256, content)
    return status, stamp, sha256


def _pictures(folder: Path, scan: _Scan, parts: Parts, columns: Path | None, dim: int) -> Pictures:
    table = pd.DataFrame(scan.rows, columns=COLUMNS)
    names = table["path"].tolist()
    gathered = parts.gather(table["sha256"].tolist())
    shapes = pd.DataFrame([part.shape for part in gathered], columns=["width", "height"], dtype="int64")
    known = metadata.of_files(folder, names, scan.modified_ns)
    table = pd.concat([table.assign(size=table["length"]), known, shapes], axis=1)
    if columns is not None:
        table = pd.concat([table, metadata.of_table(columns, names, [*table.columns, GROUP])], axis=1)
    return Pictures(table, *stacked(gathered, dim), np.array(scan.stamps, np.int64).reshape(-1, len(UNSURE)))


def _write(
    folder: Path,
    out: Path,
    encoder: EncoderManifest,
    params: IndexParams,
    pictures: Pictures,
    earlier: Earlier | None,
) -> None:
    """Group near-duplicates, comparing only what is new, and put the index in place."""
    lent = earlier if earlier and earlier.lends_to(encoder) else None
    table, cosine = pictures.table, params.duplicate_cosine
    known = lent.groups(table, cosine) if lent else np.full(len(table), NEW)
    groups = grouped(pictures.embeddings, pictures.looks, known, cosine)
    index.build(
        out,
        embeddings=pictures.embeddings,
        pictures=table.assign(**{GROUP: table["picture_id"].to_numpy()[groups]}),
        encoder=encoder,
        params=params,
        pictures_root=".." if out.parent == folder else str(folder.resolve()),
        beside=pictures.beside(cosine),
        earlier=lent.index if lent else None,
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


def _judge(folder: Path, scan: _Scan, *, skip_unreadable: bool) -> None:
    rows, unreadable = scan.rows, scan.unreadable
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
