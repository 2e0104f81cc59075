"""An index over a folder of the user's own pictures: built, added to, removed from; one writer at a time.

A picture is encoded once (parts.py), and readers see the old index until the new one stands whole.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from compodiff.encoders import Encoder
from compodiff.encoders.manifest import EncoderManifest
from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.execution import is_spread
from compodiff.images import COLUMNS, PictureListing
from compodiff.images.files import is_gone
from compodiff.index import index, metadata
from compodiff.index.changes import is_as_built
from compodiff.index.comparing import open_index
from compodiff.index.duplicates import NEW, group_duplicates
from compodiff.index.encoded import EncodedPictures, stack
from compodiff.index.index import GROUP, Beside, Index
from compodiff.index.left_out import LeftOut
from compodiff.index.manifest import require_folder, require_replaceable_index
from compodiff.index.own_columns import OwnColumns
from compodiff.index.previous import UNSURE, EarlierIndex, IndexRows, read_params
from compodiff.index.scanning import FileReading, FolderScan, judge, scan_files
from compodiff.index.sources import Sources
from compodiff.index.spreading import FileEncoder, read_ahead
from compodiff.machine import can_write, lock_folder
from compodiff.params import IndexParams
from compodiff.storage.atomic import open_work_folder
from compodiff.storage.names import require_utf8
from compodiff.storage.ownership import delete_folder

_PARTS = "encoded pictures"


@dataclass(frozen=True)
class BuildPlan:
    """What a build takes in, and how.

    Attributes:
        files: `list_pictures(folder).files`; with `keep`, the pictures to add.
        listing: what else the folder holds.
        strict: refuse to build where a picture would be left out.
        keep: leave the pictures that an earlier index holds in it, unread, unless they are among `files`.
        checksum: read every file, even one whose size, time and inode are those that the earlier index knows.
        columns: a parquet or CSV file with more about each picture, in place of the one before; with `keep`, besides.
        no_columns: forget the columns of an earlier such file, which are kept otherwise.
        made_by: the model that the encoder is of, for whoever searches; empty for that of the earlier index.
        is_quiet: show no progress.
        sources: where the pictures of the next build are looked for; None for where the earlier index has them from.
        encoder_folder: of the encoder, for other processes to open; None: this process encodes alone.
    """

    files: Iterable[Path]
    listing: PictureListing = field(default_factory=PictureListing)
    strict: bool = False
    keep: bool = False
    checksum: bool = False
    columns: Path | None = None
    no_columns: bool = False
    made_by: Mapping[str, str] = field(default_factory=dict)
    is_quiet: bool = False
    sources: Sources | None = None
    encoder_folder: Path | None = None


@dataclass(frozen=True)
class FolderBuild:
    """What a build did.

    Attributes:
        index: the index that it made.
        pictures: how many that holds.
        encoded: how many of them were encoded now.
        unreadable: file that was left out -> the reason.
        removed: pictures that were taken out.
        others: suffix -> files of other kinds.
        unmet: how many rows of `BuildPlan.columns` name no picture, in words; None where each does.
        passed: reason -> files and folders that were not looked at.
    """

    index: Path
    pictures: int
    encoded: int
    unreadable: dict[str, str] = field(default_factory=dict)
    removed: int = 0
    others: Counter[str] = field(default_factory=Counter)
    unmet: str | None = None
    passed: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Kept:
    """What stands beside an index for the next one and is not about one picture; `made_by` as in BuildPlan."""

    left_out: LeftOut
    own: OwnColumns
    sources: Sources
    made_by: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, earlier: EarlierIndex, folder: Path) -> "_Kept":
        beside = earlier.index.folder
        return cls(LeftOut.read_beside(beside), earlier.own, Sources.read_beside(beside, folder))

    def make_files(self) -> Beside:
        return self.left_out.make_arrays() | self.own.make_files() | self.sources.make_arrays()


def build_folder_index(folder: Path, out: Path, encoder: Encoder, params: IndexParams, todo: BuildPlan) -> FolderBuild:
    """Encode the pictures of `folder` and put an index over them at `out`; it takes over an earlier one's embeddings.

    Raises:
        InputInvalid: there is no picture, none decodes, one does not and `todo.strict`, `todo.columns` does not fit, or
            the index at `out` is of another folder.
        EncoderMismatch, IndexMismatch: with `todo.keep`, what is kept was made with another encoder, or is damaged.
        ResourceUnavailable: `out` cannot be written, or is being written by another.
    """
    staging = out.with_name(f"{out.name}.parts")
    with lock_index(out):
        earlier = _open_earlier(out, folder)
        if earlier is not None and _is_needless(todo, earlier, encoder.manifest, params, folder):
            passed, others = todo.listing.passed, todo.listing.others
            return FolderBuild(out, earlier.index.manifest.count, 0, others=others, passed=passed)
        given = None if todo.columns is None else OwnColumns.read(todo.columns)
        parts = EncodedPictures(open_work_folder(staging, _PARTS, (f"{'?' * 16}/*.npz",)), earlier, encoder)
        known = LeftOut.read_beside(out)
        trusted = None if todo.checksum else earlier
        reading = FileReading(folder, parts, trusted, known)
        if todo.encoder_folder is not None and is_spread():
            read_ahead(reading, todo.files, FileEncoder(folder, staging, todo.encoder_folder), is_quiet=todo.is_quiet)
        scan = scan_files(reading, todo.files, is_quiet=todo.is_quiet)
        keeps = earlier is not None and todo.keep
        judge(folder, scan, todo.listing, strict=todo.strict, keeps=keeps)
        whole = _collect_pictures(folder, scan, parts, encoder.manifest.embedding_dim, earlier)
        left_out, sources = LeftOut(scan.left_out), todo.sources or Sources.read_beside(out, folder)
        if earlier is not None and todo.keep:
            earlier.index.require_encoder(encoder.manifest)
            left_out = known.join(left_out, gone=lambda name: name in scan.names or is_gone(folder / name))
            whole = earlier.remove(scan.names).join(whole)
        names = set(whole.table["path"])
        given = None if given is None else given.match_names(names)
        kept = _Kept(left_out, _choose_own_columns(todo, given, earlier), sources, todo.made_by)
        if len(scan.rows) or not keeps or left_out != known or given is not None:
            _write(out, encoder.manifest, params, whole, earlier, kept)
        delete_folder(staging, _PARTS)
    unreadable, others = todo.listing.left_out | scan.unreadable, todo.listing.others + scan.others
    unmet = None if given is None else given.describe_unmatched(names)
    passed = todo.listing.passed
    return FolderBuild(out, len(whole.table), parts.encoded, unreadable, others=others, unmet=unmet, passed=passed)


def _is_needless(
    todo: BuildPlan, earlier: EarlierIndex, encoder: EncoderManifest, params: IndexParams, folder: Path
) -> bool:
    """Return whether a build would make the index that is there, as a look at the files' times shows."""
    beside, manifest = earlier.index.folder, earlier.index.manifest
    asks_for_more = todo.keep or todo.checksum or todo.no_columns or todo.columns is not None
    is_of_same = earlier.has_encoder(encoder) and (not todo.made_by or dict(todo.made_by) == manifest.made_by)
    if asks_for_more or not is_of_same or todo.files is not todo.listing.files:
        return False
    if todo.sources not in (None, Sources.read_beside(beside, folder)) or LeftOut.read_beside(beside).reasons:
        return False
    return read_params(earlier.index) == params.model_dump_json() and is_as_built(earlier, folder, todo.listing)


def _open_earlier(out: Path, folder: Path) -> EarlierIndex | None:
    """Open the index at `out`, which the new one will replace; None where there is none.

    Raises:
        InputInvalid: something else is there, or it is of another folder.
    """
    require_replaceable_index(out)
    earlier = EarlierIndex.open(out)
    if earlier is not None:
        require_folder(out, earlier.index.manifest, folder)
    return earlier


def remove_from_index(folder: Path, out: Path, params: IndexParams, names: Iterable[str] | None) -> FolderBuild:
    """Take pictures, named from `folder`, out of the index at `out`; with None, those that are no longer there.

    None is read or encoded.

    Raises:
        InputInvalid: there is no index, it is of another folder, it does not hold one of `names`, or nothing would be
            left.
        ResourceUnavailable: `out` cannot be written, or is being written by another.
    """
    open_index(out, folder)  # where there is none, no folder is made to lock
    with lock_index(out):
        earlier = EarlierIndex(Index.load(out))
        held = earlier.index
        require_folder(out, held.manifest, folder)
        gone = {name for name in held.picture_ids if is_gone(folder / name)} if names is None else set(names)
        if strange := sorted(gone - held.row.keys()):
            raise InputInvalid(f"the index {out} holds no picture {strange[0]!r}; see: compodiff index status {folder}")
        if len(gone) == held.manifest.count:
            raise InputInvalid(f"nothing would be left in {out}; remove the folder itself to have no index")
        if gone:
            _write(out, held.manifest.encoder, params, earlier.remove(gone), earlier, _Kept.read(earlier, folder))
    return FolderBuild(out, held.manifest.count - len(gone), 0, removed=len(gone))


def _choose_own_columns(todo: BuildPlan, given: OwnColumns | None, earlier: EarlierIndex | None) -> OwnColumns:
    before = OwnColumns() if earlier is None or todo.no_columns else earlier.own
    chosen = before if given is None else before.join(given) if todo.keep else given
    chosen.require_none_of_ours()
    return chosen


def _collect_pictures(
    folder: Path, scan: FolderScan, parts: EncodedPictures, dim: int, earlier: EarlierIndex | None
) -> IndexRows:
    table = pd.DataFrame(scan.rows, columns=COLUMNS)
    names, sha256 = table["path"].tolist(), table["sha256"].tolist()
    gathered = parts.gather(sha256)
    shapes = pd.DataFrame([part.shape for part in gathered], columns=["width", "height"], dtype="int64")
    shapes["orientation"] = metadata.find_orientations(shapes["width"], shapes["height"])
    before = None if earlier is None else earlier.index.pictures
    known = metadata.read_metadata(folder, names, scan.modified_ns, sha256, before)
    table = pd.concat([table.assign(size=table["length"]), known, shapes], axis=1)
    return IndexRows(table, *stack(gathered, dim), np.array(scan.stamps, np.int64).reshape(-1, len(UNSURE)))


def _write(
    out: Path,
    encoder: EncoderManifest,
    params: IndexParams,
    pictures: IndexRows,
    earlier: EarlierIndex | None,
    kept: _Kept,
) -> None:
    """Group near-duplicates, comparing only what is new, and put the index in place."""
    same = earlier if earlier and earlier.has_encoder(encoder) else None
    table, cosine, root = pictures.table, params.duplicate_cosine, kept.sources.root
    known = same.find_groups(table, cosine) if same else np.full(len(table), NEW)
    order = np.argsort(table["picture_id"].to_numpy(), kind="stable")
    groups = group_duplicates(pictures.embeddings, pictures.looks, known, order, cosine)
    table = table.assign(**{GROUP: table["picture_id"].to_numpy()[groups]})
    index.build(
        out,
        embeddings=pictures.embeddings,
        pictures=table.join(kept.own.select(table["path"].tolist())),
        encoder=encoder,
        params=params,
        pictures_root=".." if out.parent == root else str(root.resolve()),
        beside={**pictures.make_arrays(cosine, params), **kept.make_files()},
        earlier=same.index if same else None,
        made_by=kept.made_by or (same.index.manifest.made_by if same else None),
    )


@contextmanager
def lock_index(out: Path) -> Iterator[None]:
    """Refuse to write where another is writing, or by no name in UTF-8; the lock is on the folder of the index."""
    require_utf8(out, "rename it, or name another place with --out")
    try:
        with lock_folder(_check_writable(out.parent)):
            yield
    except BlockingIOError as error:
        raise ResourceUnavailable(f"another compodiff index is writing in {out.parent}; wait for it to end") from error


def _check_writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceUnavailable(f"cannot write {folder}: {error.strerror}; name another place with --out") from error
    if not can_write(folder):
        raise ResourceUnavailable(f"{folder} cannot be written; name another place with --out, a folder of your own")
    return folder
