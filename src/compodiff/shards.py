"""Webdataset shards with a parquet sidecar each: whole or not at all, checksummed, resumable.

    train-00000.tar      {key}.reference.png, {key}.target.png, {key}.json ...; the same entries give the same bytes
    train-00000.parquet  one row per candidate, kept or not; its metadata has the size and sha256 of the tar

The sidecar is written last: a shard is done when it is there, so a run that was killed makes only what is missing.
"""

import hashlib
import json
import logging
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from compodiff.atomic import atomic_path, write_json
from compodiff.errors import InputInvalid

FINGERPRINT = "fingerprint.json"
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

    def rows(self) -> pd.DataFrame:
        """All rows recorded."""
        return pd.concat(self._rows, ignore_index=True) if self._rows else pd.DataFrame()


@contextmanager
def writing(path: Path) -> Iterator[Shard]:
    """Yield a shard to fill; when the block ends well its tar appears under `path`, then its sidecar.

    Raises:
        ResourceUnavailable: the disk is full; neither file is there.
    """
    from webdataset import TarWriter

    with atomic_path(path) as temporary:
        with temporary.open("wb") as stream, TarWriter(stream, encoder=False, mtime=0, user="", group="") as tar:
            shard = Shard(tar)
            yield shard
        seal = {"bytes": temporary.stat().st_size, "sha256": _digest(temporary), "entries": shard.entries}
    write_table(sidecar_of(path), shard.rows(), metadata=seal)


def sidecar_of(path: Path) -> Path:
    """The parquet file whose presence says that the shard `path` is done."""
    return path.with_suffix(".parquet")


def seal_of(path: Path) -> dict[str, Any]:
    """What the sidecar of shard `path` says about its tar: bytes, sha256, entries.

    Raises:
        InputInvalid: the sidecar is missing or unreadable.
    """
    seal = _read(sidecar_of(path), _REMAKE).schema.metadata.get(b"compodiff")
    if seal is None:
        raise InputInvalid(f"{sidecar_of(path)} is no sidecar of a shard; delete it and {_REMAKE}")
    content: dict[str, Any] = json.loads(seal)
    return content


def is_done(path: Path) -> bool:
    """Whether shard `path` was finished and has still its size; a damaged one counts as missing."""
    try:
        return path.is_file() and path.stat().st_size == seal_of(path)["bytes"]
    except InputInvalid:
        return False


def read_entries(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (key, extension -> content) of every entry of a finished shard, after checking it whole.

    Raises:
        InputInvalid: the shard was never finished, is cut short or damaged.
    """
    seal = seal_of(path)
    if not path.is_file():
        raise InputInvalid(f"{path} is missing; {_REMAKE}")
    if (size := path.stat().st_size) != seal["bytes"]:
        raise InputInvalid(f"{path} is cut short: {size} of {seal['bytes']} bytes; delete it and {_REMAKE}")
    if (digest := _digest(path)) != seal["sha256"]:
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
            key, files[extension] = name, _content(tar, member)
    if files:
        yield key, files


def merge_sidecars(paths: Sequence[Path], target: Path) -> pd.DataFrame:
    """Write the rows of the shards `paths`, in their order, as one parquet file; return them."""
    rows = pd.concat([read_table(sidecar_of(path), remedy=_REMAKE) for path in paths], ignore_index=True)
    write_table(target, rows)
    return rows


def write_table(path: Path, rows: pd.DataFrame, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Write rows as parquet, whole or not at all; equal rows give equal bytes."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    if metadata is not None:
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), b"compodiff": json.dumps(metadata, sort_keys=True).encode()}
        )
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def read_table(path: Path, *, remedy: str = "run: dvc repro") -> pd.DataFrame:
    """Read a parquet file; `remedy` is the way out that an error names.

    Raises:
        InputInvalid: the file is missing, cut short or not parquet.
    """
    rows: pd.DataFrame = _read(path, remedy).to_pandas()
    return rows


def claim_folder(folder: Path, fingerprint: Mapping[str, Any]) -> None:
    """Make `folder` ready for output that depends on `fingerprint` (JSON types): keep what was made for the same one.

    Output of another fingerprint is deleted.
    """
    path = folder / FINGERPRINT
    if folder.exists():
        earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        stale = sorted(key for key in {*earlier, *fingerprint} if earlier.get(key) != fingerprint.get(key))
        if stale:
            log.info("%s was made with another %s: starting afresh", folder, ", ".join(stale))
            shutil.rmtree(folder)
    if not path.exists():
        write_json(path, fingerprint)


_REMAKE = "run: compodiff run synthesize"


def _read(path: Path, remedy: str) -> pa.Table:
    try:
        return pq.read_table(path)
    except FileNotFoundError as error:
        raise InputInvalid(f"{path} is not there; {remedy}") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise InputInvalid(f"{path} is cut short or not parquet ({error}); delete it and {remedy}") from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file: IO[bytes] | None = tar.extractfile(member)
    return file.read() if file is not None else b""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
