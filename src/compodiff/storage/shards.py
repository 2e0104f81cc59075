"""Webdataset shards with a parquet sidecar each: whole or not at all, checksummed, resumable.

    train-00000.tar      {key}.reference.png, {key}.target.png, {key}.json ...; the same entries give the same bytes
    train-00000.parquet  one row per candidate, kept or not; its metadata has the size and sha256 of the tar

The sidecar is written last: a shard is done when it is there, so a run that was killed makes only what is missing.
"""

import json
import logging
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from compodiff.errors import InputInvalid
from compodiff.storage.atomic import open_work_folder, replace_path, write_json
from compodiff.storage.digests import digest_file
from compodiff.storage.ownership import delete_folder, is_marked, mark_folder, require_replaceable_folder

FINGERPRINT = "fingerprint.json"
# What a folder of triplets holds besides.
OF_TRIPLETS = (
    *(f"{split}-*.{suffix}" for split in ("train", "validation") for suffix in ("tar", "parquet")),
    "manifest.parquet",
    "pictures.parquet",
    "report.json",
    "source.json",
)
_ROWS_PER_GROUP = 2**16  # of a manifest
log = logging.getLogger(__name__)


@dataclass
class Shard:
    """A shard while it is written."""

    _tar: Any
    entries: int = 0
    _rows: list[pd.DataFrame] = field(default_factory=list)

    def add(self, key: str, files: Mapping[str, bytes]) -> None:
        """Append an entry: extension ("reference.png") -> content."""
        self._tar.write({"__key__": key, **files})
        self.entries += 1

    def record(self, rows: pd.DataFrame) -> None:
        """Append rows to the sidecar."""
        self._rows.append(rows)

    def make_rows(self) -> pd.DataFrame:
        """Return all rows recorded."""
        return pd.concat(self._rows, ignore_index=True) if self._rows else pd.DataFrame()


@contextmanager
def open_shard_writer(path: Path) -> Iterator[Shard]:
    """Yield a shard to fill; when the block ends well its tar appears under `path`, then its sidecar.

    Raises:
        ResourceUnavailable: the disk is full; neither file is there.
    """
    from webdataset import TarWriter

    with replace_path(path) as temporary:
        with temporary.open("wb") as stream, TarWriter(stream, encoder=False, mtime=0, user="", group="") as tar:
            shard = Shard(tar)
            yield shard
        seal = {"bytes": temporary.stat().st_size, "sha256": digest_file(temporary), "entries": shard.entries}
    write_table(name_sidecar(path), shard.make_rows(), metadata=seal)


def name_sidecar(path: Path) -> Path:
    """Return the parquet file whose presence says that the shard `path` is done."""
    return path.with_suffix(".parquet")


def read_seal(path: Path) -> dict[str, Any]:
    """Return what the sidecar of shard `path` says about its tar: bytes, sha256, entries.

    Raises:
        InputInvalid: the sidecar is missing or unreadable.
    """
    seal = _read(name_sidecar(path), _REMAKE).schema.metadata.get(b"compodiff")
    if seal is None:
        raise InputInvalid(f"{name_sidecar(path)} is no sidecar of a shard; delete it and {_REMAKE}")
    content: dict[str, Any] = json.loads(seal)
    return content


def is_done(path: Path) -> bool:
    """Return whether shard `path` was finished and has still its size; a damaged one counts as missing."""
    try:
        return path.is_file() and path.stat().st_size == read_seal(path)["bytes"]
    except InputInvalid:
        return False


def read_entries(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (key, extension -> content) of every entry of a finished shard, after checking it whole.

    Raises:
        InputInvalid: the shard was never finished, is cut short or damaged.
    """
    seal = read_seal(path)
    if not path.is_file():
        raise InputInvalid(f"{path} is missing; {_REMAKE}")
    if (size := path.stat().st_size) != seal["bytes"]:
        raise InputInvalid(f"{path} is cut short: {size} of {seal['bytes']} bytes; delete it and {_REMAKE}")
    if (digest := digest_file(path)) != seal["sha256"]:
        raise InputInvalid(
            f"{path} is damaged: sha256 {digest[:12]}, not {seal['sha256'][:12]}; delete it and {_REMAKE}"
        )
    key, files = "", dict[str, bytes]()
    with tarfile.open(path) as tar:
        for member in tar:
            name, _, extension = member.name.partition(".")
            if name != key and files:
                yield key, files
                files = {}
            key, files[extension] = name, _read_member(tar, member)
    if files:
        yield key, files


class ShardMerger:
    """A manifest while it is written out of sidecars; holds the rows of one group."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.Table] = []

    def add(self, path: Path) -> pd.DataFrame:
        """Append the rows of shard `path`; return them.

        Raises:
            InputInvalid: its sidecar is missing or unreadable.
        """
        table = _read(name_sidecar(path), _REMAKE)
        if table.num_rows:
            self._held.append(table.replace_schema_metadata({b"pandas": table.schema.metadata[b"pandas"]}))
            if sum(held.num_rows for held in self._held) >= _ROWS_PER_GROUP:
                self.flush()
        rows: pd.DataFrame = table.to_pandas()
        return rows

    def flush(self) -> None:
        """Write the rows held as a group of their own."""
        if self._held:
            self._writer = self._writer or pq.ParquetWriter(self._target, self._held[0].schema)
            self._writer.write_table(pa.concat_tables(self._held))
            self._held = []

    def close(self) -> None:
        """Write what is left, and the footer."""
        self.flush()
        if self._writer is not None:
            self._writer.close()


@contextmanager
def open_merged_table(target: Path) -> Iterator[ShardMerger]:
    """Yield what takes sidecars one by one; when the block ends well their rows appear as one parquet file, `target`.

    Raises:
        InputInvalid: there was no row.
        ResourceUnavailable: the disk is full; nothing is left.
    """
    with replace_path(target) as temporary:
        merger = ShardMerger(temporary)
        yield merger
        merger.close()
        if not temporary.exists():
            raise InputInvalid(f"there is nothing to make triplets of: {target} would be empty")


def write_table(path: Path, rows: pd.DataFrame, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Write rows as parquet, whole or not at all; equal rows give equal bytes."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    if metadata is not None:
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), b"compodiff": json.dumps(metadata, sort_keys=True).encode()}
        )
    with replace_path(path) as temporary:
        pq.write_table(table, temporary)


def read_table(path: Path, *, remedy: str = "run: dvc repro") -> pd.DataFrame:
    """Read a parquet file; `remedy` is the way out that an error names.

    Raises:
        InputInvalid: the file is missing, cut short or not parquet.
    """
    rows: pd.DataFrame = _read(path, remedy).to_pandas()
    return rows


def claim_folder(folder: Path, fingerprint: Mapping[str, Any], kind: str, patterns: Sequence[str]) -> None:
    """Make `folder` ready for output that depends on `fingerprint` (JSON types): keep what was made for the same one.

    Output of another fingerprint is deleted. Its marker says its kind, in words, and which names are written into it.

    Raises:
        InputInvalid: the folder holds something that no such work made; nothing is touched.
    """
    path, names = folder / FINGERPRINT, (FINGERPRINT, *patterns)
    earlier = _read_fingerprint(path)
    if earlier.keys() & fingerprint.keys() and not is_marked(folder):
        mark_folder(folder, kind, names)  # of release 0.1, which wrote no markers
    open_work_folder(folder, kind, names)
    stale = sorted(key for key in {*earlier, *fingerprint} if earlier.get(key) != fingerprint.get(key))
    if stale and earlier:
        log.info("%s was made with another %s: starting afresh", folder, ", ".join(stale))
        delete_folder(folder, kind)
        open_work_folder(folder, kind, names)
    if not path.exists():
        write_json(path, fingerprint)


def require_claimable(folder: Path, kind: str) -> None:
    """Check at the door that `claim_folder` will take `folder`.

    Raises:
        InputInvalid: it holds something that no such work made.
    """
    if is_marked(folder) or not _read_fingerprint(folder / FINGERPRINT):
        require_replaceable_folder(folder, kind)


def _read_fingerprint(path: Path) -> dict[str, Any]:
    """Return the fingerprint of a folder; empty where there is none."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:  # what else is in the way is said where the folder is opened
        return {}
    except ValueError as error:
        raise InputInvalid(f"{path} is damaged ({error}); delete {path.parent} and run again") from error
    return content


_REMAKE = "run: compodiff run synthesize"


def _read(path: Path, remedy: str) -> pa.Table:
    try:
        return pq.read_table(path)
    except FileNotFoundError as error:
        raise InputInvalid(f"{path} is not there; {remedy}") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise InputInvalid(f"{path} is cut short or not parquet ({error}); delete it and {remedy}") from error


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file: IO[bytes] | None = tar.extractfile(member)
    return file.read() if file is not None else b""
