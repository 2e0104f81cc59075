"""Write a set: shard by shard, each whole or not at all, and `set.json` last."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from compodiff.errors import InputInvalid
from compodiff.sets.form import DESCRIPTION, OPTIONAL, SCHEMAS, SPLITS, Place, SetDescription, Shard, Vectors
from compodiff.storage.atomic import replace_path, write_json
from compodiff.storage.digests import digest_file

KIND = "set"
PATTERNS = (*(f"{split}-*.{suffix}" for split in SPLITS for suffix in ("parquet", "tar")), DESCRIPTION)


class ShardWriter:
    """A shard while it is written: its rows, and the pictures that were made for them."""

    def __init__(self, split: str, tar_name: str, open_tar: Callable[[], tarfile.TarFile]) -> None:
        """Begin a shard; `open_tar` is called where it gets its first picture."""
        self.rows: list[dict[str, Any]] = []
        self._split, self._tar_name, self._open_tar = split, tar_name, open_tar
        self._places = dict[str, Place]()

    @cached_property
    def _tar(self) -> tarfile.TarFile:
        return self._open_tar()

    def store_picture(self, name: str, content: bytes) -> Place:
        """Append a picture's bytes to the shard's tar, once for each name; return where they lie."""
        if name not in self._places:
            member = tarfile.TarInfo(hashlib.sha256(name.encode()).hexdigest()[:16])
            member.size, member.mode = len(content), 0o644
            self._places[name] = Place(name, self._tar_name, self._tar.offset + tarfile.BLOCKSIZE, len(content))
            self._tar.addfile(member, io.BytesIO(content))
        return self._places[name]

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row (`form.SCHEMAS`, without its split); a `Place` may stand for its value."""
        self.rows.append({"split": self._split, **{name: _to_value(value) for name, value in row.items()}})


@contextmanager
def open_shard(folder: Path, split: str, number: int | str, kind: str) -> Iterator[ShardWriter]:
    """Yield a shard to fill; when the block ends well its tar appears, if it has pictures, then its rows.

    Args:
        folder: of the set.
        split: of all its rows.
        number: of the shard in its split, or a text that stands for one; it decides the file's name.
        kind: pairs or triplets.

    Raises:
        ResourceUnavailable: the disk is full; the shard is not there.
    """
    rows_path = shard_path(folder, split, number)
    tar_path = rows_path.with_suffix(".tar")
    with replace_path(rows_path) as temporary:
        with ExitStack() as tar:

            def open_tar() -> tarfile.TarFile:
                place = tar.enter_context(replace_path(tar_path))
                return tar.enter_context(tarfile.open(place, "w", format=tarfile.USTAR_FORMAT))

            writer = ShardWriter(split, tar_path.name, open_tar)
            yield writer
        optional = [field for field in OPTIONAL[kind] if any(row.get(field.name) for row in writer.rows)]
        schema = pa.schema([*SCHEMAS[kind], *optional])
        pq.write_table(pa.Table.from_pylist(writer.rows, schema=schema), temporary)


def shard_path(folder: Path, split: str, number: int | str) -> Path:
    """Return where the rows of a shard stand."""
    return folder / f"{split}-{number if isinstance(number, str) else f'{number:05d}'}.parquet"


def is_shard_done(path: Path) -> bool:
    """Return whether the rows of a shard are there and whole; they are written after its pictures."""
    try:
        pq.read_metadata(path)
    except (pa.ArrowException, UnicodeDecodeError, OSError):
        return False
    return True


def finish_set(
    folder: Path,
    kind: str,
    *,
    licence: str,
    source: str,
    notes: Mapping[str, int] | None = None,
    vectors: Vectors | None = None,
) -> SetDescription:
    """Write `set.json` over the shards that are in `folder`.

    Raises:
        InputInvalid: there is no row, or a shard is damaged.
    """
    shards = tuple(_describe_shard(path) for split in SPLITS for path in sorted(folder.glob(f"{split}-*.parquet")))
    shards = tuple(shard for shard in shards if shard.rows)
    if not shards:
        raise InputInvalid(f"there is nothing to learn from: the set {folder} would have no row")
    digest = hashlib.sha256(" ".join(shard.sha256 for shard in shards).encode()).hexdigest()
    description = SetDescription(kind, licence, source, shards, digest, notes or {}, vectors=vectors)
    write_json(folder / DESCRIPTION, description.to_json())
    return description


def _describe_shard(path: Path) -> Shard:
    try:
        rows = pq.read_metadata(path).num_rows
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise InputInvalid(f"{path} is cut short or damaged ({error}); remove it and run again") from error
    return Shard(path.name, path.name.partition("-")[0], rows, digest_file(path))


def _to_value(value: Any) -> Any:
    if isinstance(value, Place):
        return value.to_row()
    if isinstance(value, (list, tuple)):
        return [_to_value(each) for each in value]
    return value
