"""A set of somebody's becomes one of ours by reference: nothing is decoded, and no picture that has a place is copied.

A unit of work is a tar, some row groups of a parquet file, or some rows of a list. Units are mapped by `execution`, and
each writes its shards and then, in `units/`, what it left out: an import that was stopped continues with the others.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from compodiff.errors import InputInvalid
from compodiff.execution import count_workers, map_shards
from compodiff.interchange import listing
from compodiff.interchange.faults import REPEATED_KEY, TEST, Fault, Tally
from compodiff.interchange.pictures import Inline, PictureRoot
from compodiff.interchange.records import Chosen, RawRow
from compodiff.interchange.rows import Row, RowBuilder
from compodiff.sets import PATTERNS, SPLITS, SetDescription, ShardWriter, Vectors, finish_set, open_shard
from compodiff.sets.keys import drop_repeated_keys, find_repeated_keys
from compodiff.storage import claims
from compodiff.storage.atomic import write_json
from compodiff.storage.json_files import read_json
from compodiff.storage.tables import count_rows

ROWS_PER_SHARD = 10_000
KIND = "imported set"
UNITS = "units"
_OWN = (*PATTERNS, f"{UNITS}/*.json", *listing.OWN)
_NAMED = 5  # faults that are named in full
log = logging.getLogger(__name__)


class Unit(Protocol):
    """A unit of work; picklable."""

    def read(self, others: Counter[str]) -> Iterator[RawRow | Fault]:
        """Yield rows, or what is wrong with them, one in memory at a time; count in `others` what is no fault."""


@dataclass(frozen=True)
class Order:
    """What is imported.

    Attributes:
        kind: pairs or triplets.
        units: in an order that is the same every time.
        licence: of the set, in words.
        source: where it comes from, in words.
        faults: that were met before the first unit.
        vectors: what pictures are where they are embeddings.
    """

    kind: str
    units: Iterable[Unit]
    licence: str
    source: str
    faults: Sequence[Fault] = ()
    vectors: Vectors | None = None


@dataclass(frozen=True)
class Planned:
    """A unit and its number, which names its shards."""

    number: int
    unit: Unit


@dataclass(frozen=True)
class Importer:
    """Makes the shards of a unit; picklable.

    Attributes:
        folder: of the set.
        kind: pairs or triplets.
        chosen: columns that a person named.
        root: what paths of pictures count from.
        seed: of the wording of relative captions that a set does not have.
        skip_faulty: leave out what has a fault instead of stopping.
    """

    folder: Path
    kind: str
    chosen: Chosen
    root: PictureRoot | None
    seed: int
    skip_faulty: bool

    def __call__(self, planned: Planned) -> Tally:
        """Write the shards of a unit, then its file in `units/`.

        Raises:
            InputInvalid: something has a fault, and such are not left out.
            ResourceUnavailable: the disk is full.
        """
        tally = Tally()
        builder = RowBuilder(self.kind, self.chosen, self.root, self.seed)
        with _Shards(self.folder, planned.number, self.kind) as written:
            for raw in self._read(planned.unit, tally):
                try:
                    rows = builder.build(raw)
                except Fault as fault:
                    self._leave_out(fault, tally)
                    continue
                if not rows:
                    tally.others[TEST] += 1
                for split, row in rows:
                    written.add(split, row)
                    tally.rows += 1
        write_json(_report_path(self.folder, planned.number), tally.to_json())
        return tally

    def _read(self, unit: Unit, tally: Tally) -> Iterator[RawRow]:
        """Yield the rows of a unit as far as it can be read."""
        try:
            for raw in unit.read(tally.others):
                if isinstance(raw, Fault):
                    self._leave_out(raw, tally)
                else:
                    yield raw
        except Fault as fault:
            self._leave_out(fault, tally)

    def _leave_out(self, fault: Fault, tally: Tally) -> None:
        if not self.skip_faulty:
            raise InputInvalid(f"{fault}; leave such out: --skip-faulty") from fault
        tally.note(fault)


def import_set(order: Order, importer: Importer) -> tuple[SetDescription, Tally]:
    """Write a set; return what it holds, and what was left out in this run and those before it.

    Raises:
        InputInvalid: something has a fault, the folder was begun with other options, or there is no row.
        ResourceUnavailable: the disk is full or workers were killed; finished shards are kept.
    """
    folder, total = importer.folder, Tally()
    for fault in order.faults:
        total.note(fault)
    count = len(order.units) if isinstance(order.units, Sequence) else None  # a list is cut while it is read
    with tqdm(desc="importing", total=count, unit=" parts", disable=None) as bar:
        waiting = _skip_done(order.units, folder, total, bar)
        for _, tally in map_shards(importer, waiting, workers=count_workers(), on_gpu=False):
            total.add(tally)
            bar.set_postfix(rows=f"{total.rows:,}", refresh=False)
            bar.update()
    _name_faults(total)
    if total.faults and not importer.skip_faulty:
        raise InputInvalid(f"{folder} was begun with --skip-faulty, and rows were left out; give it again")
    if not total.rows:
        why = f" ({', '.join(f'{count:,} {name}' for name, count in total.notes.items())})" if total.notes else ""
        raise InputInvalid(f"{order.source} gives no row to learn from{why}; nothing of it is of train or validation")
    _require_one_row_a_key(folder, total, importer.skip_faulty)
    notes, vectors = total.notes, order.vectors
    description = finish_set(
        folder, order.kind, licence=order.licence, source=order.source, notes=notes, vectors=vectors
    )
    listing.forget_root(folder)
    return description, total


def claim(folder: Path, options: Mapping[str, Any]) -> None:
    """Make the folder of a set ready: a new one, or one that was begun with the same options.

    One begun with others is begun anew where no unit of it is done, and refused otherwise.

    Raises:
        InputInvalid: it was begun with other options, or holds something of somebody's.
    """
    path = folder / claims.FINGERPRINT
    if path.is_file() and next((folder / UNITS).glob("*.json"), None):
        earlier = read_json(path)
        for name, value in options.items():
            if isinstance(earlier, dict) and earlier.get(name) != value:
                was = (
                    f"{name} {earlier.get(name)}, not {value}" if name.startswith("--") else f"another state of {name}"
                )
                raise InputInvalid(
                    f"{folder} was begun with {was}; go on as before, or import to another folder, or remove this one"
                )
    claims.claim_folder(folder, dict(options), KIND, _OWN)


def digest_paths(paths: Iterable[Path]) -> str:
    """Return a digest of what files are called and how large they are, "" for no file."""
    digest, count = hashlib.sha256(), 0
    for count, path in enumerate(paths, start=1):  # noqa: B007 - counted for what comes after
        digest.update(f"{path}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest() if count else ""


class _Shards:
    """The shards that a unit fills: one of each split at a time."""

    def __init__(self, folder: Path, number: int, kind: str) -> None:
        self._folder, self._number, self._kind = folder, number, kind
        self._open: dict[str, tuple[ExitStack, ShardWriter]] = {}
        self._pieces: Counter[str] = Counter()
        self._all = ExitStack()

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, *error: Any) -> None:
        """Put the shards in place, or leave nothing of those that are not full where something went wrong."""
        self._all.__exit__(*error)

    def add(self, split: str, row: Row) -> None:
        """Append a row; a picture that has no place goes into the shard's tar."""
        stack, shard = self._open.get(split) or self._begin(split)
        shard.add({name: _place(value, shard) for name, value in row.items()})
        if len(shard.rows) == ROWS_PER_SHARD:
            del self._open[split]
            stack.close()

    def _begin(self, split: str) -> tuple[ExitStack, ShardWriter]:
        name = f"{self._number:05d}-{self._pieces[split]:03d}"
        self._pieces[split] += 1
        stack = ExitStack()
        self._all.push(stack)
        self._open[split] = stack, stack.enter_context(open_shard(self._folder, split, name, self._kind))
        return self._open[split]


def _place(value: Any, shard: ShardWriter) -> Any:
    if isinstance(value, list):
        return [_place(each, shard) for each in value]
    if not isinstance(value, Inline):
        return value
    place = shard.store_picture(value.digest, value.content)
    return replace(place, name=value.name) if value.name else place


def _skip_done(units: Iterable[Unit], folder: Path, total: Tally, bar: "tqdm[Any]") -> Iterator[Planned]:
    for number, unit in enumerate(units):
        if (report := _report_path(folder, number)).is_file():
            total.add(Tally.from_json(read_json(report)))
            if not bar.disable:
                bar.initial += 1  # not part of this run's rate
            bar.update()
        else:
            yield Planned(number, unit)


def _report_path(folder: Path, number: int) -> Path:
    return folder / UNITS / f"{number:05d}.json"


def _name_faults(total: Tally) -> None:
    for named in total.named[:_NAMED]:
        log.warning("%s; left out", named)
    if (more := total.faults.total() - min(len(total.named), _NAMED)) > 0:
        log.warning("%d more were left out: %s", more, ", ".join(f"{n:,} {kind}" for kind, n in total.faults.items()))


def _require_one_row_a_key(folder: Path, total: Tally, skip_faulty: bool) -> None:
    """Find keys that stand in two units; leave the later rows out, or refuse them.

    Raises:
        InputInvalid: there is one, and such are not left out.
    """
    paths = [path for split in SPLITS for path in sorted(folder.glob(f"{split}-*.parquet"))]
    repeated = find_repeated_keys(paths)
    if repeated and not skip_faulty:
        key, files = repeated[0]
        raise InputInvalid(
            f"the key {key[:80]!r} stands in {len(files)} rows; name another column, --column key=NAME, "
            "number the rows, --column key=, or leave the later ones out: --skip-faulty"
        )
    if repeated:
        drop_repeated_keys(paths)
        log.warning("keys in two rows, such as %s; the later rows were left out", repeated[0][0])
    kept = sum(count_rows(path) for path in paths)
    total.faults[REPEATED_KEY] += total.rows - kept
    total.rows = kept
