"""What can be imported: the units of each format, and whether they are pairs or triplets."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from compodiff.errors import InputInvalid
from compodiff.interchange import annotated, captioned, embedded, manifests, tables, tars
from compodiff.interchange.faults import Fault, Tally
from compodiff.interchange.importing import ROWS_PER_SHARD, Importer, Order, Unit, claim, digest_paths, import_set
from compodiff.interchange.listing import index_root, list_damaged
from compodiff.interchange.pictures import PictureRoot
from compodiff.interchange.records import Chosen, RawRow, require_roles, tell_kind
from compodiff.interchange.splits import split_of_file, split_of_folder
from compodiff.sets import PAIRS, TRIPLETS, SetDescription, Vectors
from compodiff.sets.addresses import explain_failures, is_address, is_file, locate
from compodiff.storage.ownership import require_apart


@dataclass(frozen=True)
class Source:
    """A set of somebody's.

    Attributes:
        folder: of its files, or one file of it; or the address of either (`addresses.as_path`).
        format: of `FORMATS`.
        columns: role -> columns, where we would not find them.
        pictures: what paths of pictures count from: a folder of pictures or of tars; None: `folder`.
        captions: files of captions.
        split: of rows that say none, and whose files say none.
        encoder: folder of the encoder that made the embeddings of `clip-retrieval`.
        length: that embeddings of `clip-retrieval` are given; None leaves them as they are.
    """

    folder: Path
    format: str
    columns: Chosen = field(default_factory=dict)
    pictures: Path | None = None
    captions: Sequence[Path] = ()
    split: str = "train"
    encoder: str = ""
    length: float | None = None

    @property
    def root(self) -> Path:
        """Return what paths of pictures count from."""
        return self.pictures or (self.folder if self.folder.is_dir() else self.folder.parent)

    def name_file(self, path: Path) -> str:
        """Return what keys call a file: its path from the folder."""
        return path.relative_to(self.folder).as_posix() if path != self.folder else path.name

    def split_of(self, path: Path) -> str:
        """Return the split that a file's name says, or the one of rows that say none."""
        return split_of_file(Path(self.name_file(path)), split_of_folder(self.folder.absolute(), self.split))


@dataclass(frozen=True)
class Reading:
    """How a source is read.

    Attributes:
        files: whose names and sizes say that a source is still the same.
        units: of work.
        kind: pairs or triplets.
        has_paths: whether pictures are named by paths.
        vectors: what pictures are where they are embeddings.
    """

    files: Iterable[Path]
    units: Iterable[Unit]
    kind: str
    has_paths: bool = False
    vectors: Vectors | None = None


def _read_tars(source: Source, downloaded: bool = False) -> Reading:
    paths = tars.list_tars(source.folder)
    units = [tars.TarUnit(path, source.name_file(path), source.split_of(path), downloaded) for path in paths]
    return Reading(paths, units, PAIRS if downloaded else _tell_kind(units, source))


def _read_tables(source: Source) -> Reading:
    paths = tables.list_tables(source.folder)
    columns = next(filter(None, map(tables.table_columns, paths)), [])
    cut = (tables.cut_table(path, source.name_file(path), source.split_of(path), ROWS_PER_SHARD) for path in paths)
    units = [*chain.from_iterable(cut)]
    return Reading(paths, units, tell_kind(columns, source.columns), has_paths=source.pictures is not None)


def _read_manifests(source: Source) -> Reading:
    paths = manifests.list_manifests(source.folder)

    def cut() -> Iterator[Unit]:
        for path in paths:
            rows = manifests.read_list(path)
            yield from manifests.cut_list(rows, path, source.name_file(path), source.split_of(path))

    return Reading(paths, cut(), _tell_kind(cut(), source), has_paths=True)


def _read_captions(source: Source) -> Reading:
    if not source.captions:
        names = captioned.list_names(source.folder)
        units = captioned.cut_folder(source.folder, split_of_folder(source.folder.absolute(), source.split))
        return Reading((source.folder / name for name in names), units, PAIRS, has_paths=True)

    def cut() -> Iterator[Unit]:
        for path in source.captions:
            rows, split = captioned.read_caption_file(path), split_of_file(Path(path.name), source.split)
            yield from manifests.cut_list(rows, path, path.name, split)

    return Reading(source.captions, cut(), PAIRS, has_paths=True)


def _read_lasco(source: Source) -> Reading:
    paths = [path for path in manifests.list_manifests(source.folder) if path.name.startswith("lasco")]
    if source.folder.is_file():
        paths = [source.folder]

    def cut() -> Iterator[Unit]:
        captions = captioned.CocoCaptions(source.captions) if source.captions else None
        for path in paths:
            rows = annotated.read_lasco(path, captions)
            yield from manifests.cut_list(rows, path, path.name, source.split_of(path))

    return Reading([*paths, *source.captions], cut(), TRIPLETS, has_paths=True)


def _read_embedded(source: Source) -> Reading:
    parts = embedded.list_parts(source.folder)
    if not parts:
        return Reading([], [], PAIRS)
    if not source.encoder:
        raise InputInvalid(
            f"{source.folder} does not say which encoder made its embeddings; name its folder: --encoder FOLDER"
        )
    vectors = embedded.describe_vectors(parts, source.encoder, source.length)
    units = embedded.cut_parts(parts, vectors, split_of_folder(source.folder.absolute(), source.split))
    return Reading((path for part in parts for path in part if is_file(path)), units, PAIRS, vectors=vectors)


def _read_benchmark(name: str) -> Callable[[Source], Reading]:
    def read(source: Source) -> Reading:
        if is_address(str(source.folder)):
            raise InputInvalid(f"{name} is read from a folder of this machine, not from {source.folder}; fetch it")
        root = source.pictures or source.folder
        rows = annotated.READERS[name](source.folder, root)
        units = manifests.cut_list(rows, source.folder, name, "train")
        return Reading([source.folder], units, TRIPLETS)

    return read


FORMATS: Mapping[str, Callable[[Source], Reading]] = {
    "webdataset": _read_tars,
    "img2dataset": lambda source: _read_tars(source, downloaded=True),
    "parquet": _read_tables,
    "captions": _read_captions,
    "manifest": _read_manifests,
    # Names for a person who looks for a set: their columns are among those that are known.
    **dict.fromkeys(("megapairs", "cc-coir", "webvid-covr", "inter-edit"), _read_manifests),
    "lasco": _read_lasco,
    "clip-retrieval": _read_embedded,
    "fashioniq-train": _read_benchmark("fashioniq"),
    "cirr-train": _read_benchmark("cirr"),
}


def import_source(
    source: Source, to: Path, *, seed: int, skip_faulty: bool, licence: str, origin: str
) -> tuple[SetDescription, Tally]:
    """Import a set of somebody's as the folder `to`; see `importing.import_set`.

    Raises:
        InputInvalid: there is nothing to import, or as `import_set` says.
        ResourceUnavailable: the disk is full or workers were killed; finished shards are kept.
    """
    require_roles(source.columns)
    read = (source.folder, *source.captions, *([source.pictures] if source.pictures else []))
    require_apart(to, *(path for path in read if not is_address(str(path))))
    with _explain(source.folder):
        if wrong := next((path for path in source.captions if not is_file(path)), None):
            raise InputInvalid(f"{wrong} is not there, or is no file; give a file of captions")
        reading = FORMATS[source.format](source)
        options, state = _list_options(source, seed), digest_paths(reading.files)
    if not state:
        raise InputInvalid(f"{source.folder} holds nothing in the format {source.format}; give the folder of the files")
    claim(to, options | {f"the files of {locate(source.folder)}": state})
    root = _open_root(source, to) if reading.has_paths else None
    faults = _list_faults(root, skip_faulty)
    told = origin or f"{source.folder.name}, {source.format}"
    order = Order(reading.kind, reading.units, licence, told, faults, reading.vectors)
    return import_set(order, Importer(to, reading.kind, source.columns, root, seed, skip_faulty))


@contextmanager
def _explain(path: Path) -> Iterator[None]:
    """Turn what is raised while a folder, or an address, is looked through into one line."""
    if is_address(str(path)):
        with explain_failures(str(path)):
            yield
        return
    try:
        yield
    except OSError as error:
        raise InputInvalid(f"{error.filename or path} cannot be read: {error.strerror}") from error


def _open_root(source: Source, to: Path) -> PictureRoot:
    """Return where pictures are looked for, after listing what tars below it hold."""
    with _explain(source.root):
        return PictureRoot(source.root, index_root(source.root, to))


def _list_faults(root: PictureRoot | None, skip_faulty: bool) -> Sequence[Fault]:
    """Return what is wrong with the tars of pictures.

    Raises:
        InputInvalid: one is damaged, and such are not left out.
    """
    faults = list_damaged(root.index) if root and root.index else ()
    if faults and not skip_faulty:
        raise InputInvalid(f"{faults[0]}; leave such out: --skip-faulty")
    return faults


def _list_options(source: Source, seed: int) -> dict[str, Any]:
    """Return what decides the rows of a set: an import that was stopped continues with the same."""
    return {
        "--format": source.format,
        "--column": {role: list(columns) for role, columns in sorted(source.columns.items())},
        "--pictures": locate(source.pictures) if source.pictures else None,
        "--captions": [locate(path) for path in source.captions],
        "--split": source.split,
        "--seed": seed,
        # None where an import that was begun by an earlier version has nothing, so that it continues.
        "--encoder": source.encoder or None,
        "--length": source.length,
    }


def _tell_kind(units: Iterable[Unit], source: Source) -> str:
    """Look at the first row."""
    for unit in units:
        try:
            for row in unit.read(Tally().others):
                if isinstance(row, RawRow):
                    return tell_kind(row.values, source.columns)
        except Fault:
            continue
    return TRIPLETS
