"""What can be imported: the parts of a set in each format, and the folder of triplets that they become."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from compodiff.errors import InputInvalid
from compodiff.execution import count_workers, map_shards
from compodiff.interchange import lasco, tables, tars
from compodiff.interchange.importing import SPLITS, Importer, ImportPart, ImportPlan
from compodiff.interchange.records import Record
from compodiff.storage import shards
from compodiff.storage.atomic import write_json
from compodiff.storage.ownership import require_apart
from compodiff.triplets.manifest import finish

PER_SHARD = 1000  # triplets of LaSCo


@dataclass(frozen=True)
class ForeignSet:
    """A set of somebody's.

    Attributes:
        folder: of its files; for LaSCo, of COCO's pictures (train2014/, val2014/).
        format: of `FORMATS`.
        columns: role -> column, where we would not find it.
        annotations: lasco_train.json.
        captions: captions_train2014.json and captions_val2014.json, for LaSCo.
    """

    folder: Path
    format: str
    columns: Mapping[str, str] = field(default_factory=dict)
    annotations: Path | None = None
    captions: Sequence[Path] = ()


@dataclass(frozen=True)
class TarPart:
    """A tar."""

    path: Path
    columns: Mapping[str, str]

    def read_records(self) -> Iterator[Record]:
        """Read it."""
        return tars.read_tar(self.path, self.columns)


@dataclass(frozen=True)
class TablePart:
    """A row group of a parquet file."""

    path: Path
    group: int
    columns: Mapping[str, str]

    def read_records(self) -> Iterator[Record]:
        """Read it."""
        return tables.read_row_group(self.path, self.group, self.columns)


@dataclass(frozen=True)
class LascoPart:
    """Some of LaSCo's triplets, with the captions that they need."""

    path: Path
    pictures: Path
    triplets: Sequence[Mapping[str, Any]]
    captions: Mapping[int, str]

    def read_records(self) -> Iterator[Record]:
        """Read their pictures."""
        return lasco.read_records(self.triplets, self.pictures, self.captions)


def _list_tar_parts(source: ForeignSet, _skip_faulty: bool) -> list[ImportPart]:
    return [TarPart(path, source.columns) for path in tars.list_tars(source.folder)]


def _list_table_parts(source: ForeignSet, skip_faulty: bool) -> list[ImportPart]:
    parts: list[ImportPart] = []
    for path in tables.list_tables(source.folder):
        try:
            groups = tables.count_row_groups(path)
        except InputInvalid:
            if not skip_faulty:
                raise
            groups = 1  # which says, when it is read, what is wrong
        parts += [TablePart(path, group, source.columns) for group in range(groups)]
    return parts


def _list_lasco_parts(source: ForeignSet, _skip_faulty: bool) -> list[ImportPart]:
    if source.annotations is None or not source.captions:
        raise InputInvalid(
            "LaSCo has no captions; give --annotations lasco_train.json --captions captions_train2014.json"
        )
    triplets = lasco.read_triplets(source.annotations)
    captions = lasco.read_captions(source.captions)
    parts: list[ImportPart] = []
    for first in range(0, len(triplets), PER_SHARD):
        some = triplets[first : first + PER_SHARD]
        needed = {int(triplet[role][0]) for triplet in some for role in ("query-image", "target-image")}
        own = {number: captions[number] for number in needed if number in captions}
        parts.append(LascoPart(source.annotations, source.folder, some, own))
    return parts


FORMATS: dict[str, Callable[[ForeignSet, bool], list[ImportPart]]] = {
    "webdataset": _list_tar_parts,
    "parquet": _list_table_parts,
    "lasco": _list_lasco_parts,
}


def import_triplets(source: ForeignSet, importer: Importer, to: Path) -> dict[str, int]:
    """Write `to`: shards, manifest.parquet, report.json, pictures.parquet and source.json.

    An import that was killed continues with the parts that are missing; another source or another importer starts
    afresh.

    Returns:
        How many triplets were read, how many are accepted, and how many faults this run left out.

    Raises:
        InputInvalid: there is nothing to import, or a part cannot be read.
        ResourceUnavailable: the disk is full or workers were killed; finished shards are kept.
    """
    parts = FORMATS[source.format](source, importer.skip_faulty)
    if not parts:
        raise InputInvalid(f"{source.folder} holds nothing in the format {source.format}; give the folder of the files")
    require_apart(to, source.folder)
    shards.claim_folder(to, _make_fingerprint(source, importer, parts), "imported triplets", shards.OF_TRIPLETS)
    planned = _plan_shards(parts, to, importer.split)
    missing = [each for each in planned if not shards.is_done(each.path)]
    made = map_shards(importer, missing, workers=count_workers())
    bar = tqdm(made, "importing", len(planned), initial=len(planned) - len(missing), unit=" shards", disable=None)
    faults = sum(faults for _, faults in bar)
    finish(to, [each.path for each in planned])
    rows = shards.read_table(to / "manifest.parquet")
    shards.write_table(to / "pictures.parquet", _tabulate_pictures(rows))
    write_json(to / "source.json", {"folder": source.folder.name, "format": source.format, "parts": len(parts)})
    return {"triplets": len(rows), "accepted": int(rows["accepted"].sum()), "faulty": faults}


def _plan_shards(parts: Sequence[ImportPart], to: Path, split: str) -> list[ImportPlan]:
    """Name the shards by the split that a file's name begins with and a number, as ours are."""
    counts: Counter[str] = Counter()
    planned = []
    for number, part in enumerate(parts):
        prefix = next((name for name in SPLITS if part.path.name.startswith(name)), split)
        planned.append(ImportPlan(to / f"{prefix}-{counts[prefix]:05d}.tar", number, part))
        counts[prefix] += 1
    return planned


def _tabulate_pictures(rows: pd.DataFrame) -> pd.DataFrame:
    """The pictures that the set brings, with their split; one in both is held out from training."""
    ends = [rows[[end, "split"]].rename(columns={end: "picture_id"}) for end in ("reference", "target")]
    held_out_last = pd.concat(ends).sort_values(["picture_id", "split"])
    return held_out_last.drop_duplicates("picture_id", keep="last", ignore_index=True)


def _make_fingerprint(source: ForeignSet, importer: Importer, parts: Sequence[ImportPart]) -> dict[str, Any]:
    return {
        "files": {str(path): path.stat().st_size for path in sorted({part.path for part in parts})},
        "parts": len(parts),
        "columns": dict(source.columns),
        "importer": {
            "encoder": str(importer.encoder),
            "floors": importer.floors.model_dump(),
            "split": importer.split,
            "seed": importer.seed,
            "skip_faulty": importer.skip_faulty,
        },
    }
