"""What can be imported: the units of each format, and whether they are pairs or triplets."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from compodiff.errors import InputInvalid
from compodiff.images.files import is_regular
from compodiff.interchange import annotated, captioned, manifests, tables, tars
from compodiff.interchange.faults import Fault, Tally
from compodiff.interchange.importing import (
    MEMBERS,
    ROWS_PER_SHARD,
    Importer,
    Order,
    Unit,
    claim,
    digest_paths,
    import_set,
)
from compodiff.interchange.pictures import PictureRoot, index_tars, list_damaged
from compodiff.interchange.records import Chosen, RawRow, require_roles, tell_kind
from compodiff.interchange.splits import split_of_file, split_of_folder
from compodiff.sets import PAIRS, TRIPLETS, SetDescription
from compodiff.storage.ownership import delete_inside, require_apart


@dataclass(frozen=True)
class Source:
    """A set of somebody's.

    Attributes:
        folder: of its files, or one file of it.
        format: of `FORMATS`.
        columns: role -> columns, where we would not find them.
        pictures: what paths of pictures count from: a folder of pictures or of tars; None: `folder`.
        captions: files of captions.
        split: of rows that say none, and whose files say none.
    """

    folder: Path
    format: str
    columns: Chosen = field(default_factory=dict)
    pictures: Path | None = None
    captions: Sequence[Path] = ()
    split: str = "train"

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
    """

    files: Iterable[Path]
    units: Iterable[Unit]
    kind: str
    has_paths: bool = False


def _read_tars(source: Source, downloaded: bool = False) -> Reading:
    paths = tars.list_tars(source.folder)
    units = [tars.TarUnit(path, source.name_file(path), source.split_of(path), downloaded) for path in paths]
    return Reading(paths, units, PAIRS if downloaded else _tell_kind(units, source))


def _read_tables(source: Source) -> Reading:
    paths = tables.list_tables(source.folder)
    columns = next(filter(None, map(tables.table_columns, paths)), [])
    units = chain.from_iterable(
        tables.cut_table(path, source.name_file(path), source.split_of(path), ROWS_PER_SHARD) for path in paths
    )
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


def _read_benchmark(name: str) -> Callable[[Source], Reading]:
    def read(source: Source) -> Reading:
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
    **dict.fromkeys(("megapairs", "cc-coir", "webvid-covr"), _read_manifests),
    "lasco": _read_lasco,
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
    require_apart(to, source.folder, *source.captions, *([source.pictures] if source.pictures else []))
    if wrong := next((path for path in source.captions if not is_regular(path)), None):
        raise InputInvalid(f"{wrong} is not there, or is no file; give a file of captions")
    try:
        reading = FORMATS[source.format](source)
        options, state = _list_options(source, seed), digest_paths(reading.files)
    except OSError as error:
        raise InputInvalid(f"{error.filename or source.folder} cannot be read: {error.strerror}") from error
    if not state:
        raise InputInvalid(f"{source.folder} holds nothing in the format {source.format}; give the folder of the files")
    claim(to, options | {f"the files of {source.folder.absolute()}": state})
    root = _open_root(source, to) if reading.has_paths else None
    faults = _list_faults(root, skip_faulty)
    told = origin or f"{source.folder.name}, {source.format}"
    order = Order(reading.kind, reading.units, licence, told, faults)
    return import_set(order, Importer(to, reading.kind, source.columns, root, seed, skip_faulty))


def _open_root(source: Source, to: Path) -> PictureRoot:
    """Return where pictures are looked for, after listing what tars below it hold."""
    paths = tars.list_tars(source.root)
    index = to / MEMBERS
    if paths and not index.is_file():
        index_tars(paths, source.root, index)
    return PictureRoot(source.root, index if paths else None)


def _list_faults(root: PictureRoot | None, skip_faulty: bool) -> Sequence[Fault]:
    """Return what is wrong with the tars of pictures.

    Raises:
        InputInvalid: one is damaged, and such are not left out.
    """
    faults = list_damaged(root.index) if root and root.index else ()
    if root and root.index and faults and not skip_faulty:
        delete_inside(root.index)  # so that a tar that was fetched again is listed again
        raise InputInvalid(f"{faults[0]}; leave such out: --skip-faulty")
    return faults


def _list_options(source: Source, seed: int) -> dict[str, Any]:
    """Return what decides the rows of a set: an import that was stopped continues with the same."""
    return {
        "--format": source.format,
        "--column": {role: list(columns) for role, columns in sorted(source.columns.items())},
        "--pictures": str(source.pictures.absolute()) if source.pictures else None,
        "--captions": [str(path.absolute()) for path in source.captions],
        "--split": source.split,
        "--seed": seed,
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
