"""Our triplets in the formats that others read; see `tars` and `tables` for the names of their fields."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from compodiff.execution import count_workers, map_shards
from compodiff.interchange import tables, tars
from compodiff.interchange.records import SCORES
from compodiff.storage import shards
from compodiff.storage.atomic import replace_folder
from compodiff.storage.ownership import require_apart, require_replaceable_folder

KIND = "exported triplets"

_TEXTS = ("key", "reference", "target", "reference_caption", "target_caption", "relative_caption", "relation", "split")
COLUMNS = {
    **dict.fromkeys(("reference_image", "target_image", "mask_image"), "image"),
    **dict.fromkeys((*_TEXTS, "keyword"), "string"),
    **dict.fromkeys(SCORES, "float32"),
    "accepted": "bool",
    "rejected_by": "string",
}


@dataclass(frozen=True)
class Export:
    """A shard of ours, and the file that it becomes."""

    path: Path
    to: Path


def write_tar_shard(export: Export) -> int:
    """Write a shard as a tar of the field's kind; return how many triplets it has."""
    count = 0

    def make_entries() -> Iterator[tuple[str, Mapping[str, bytes]]]:
        nonlocal count
        for key, files in shards.read_entries(export.path):
            count += 1
            yield key, {**files, "txt": json.loads(files["json"])["relative_caption"].encode()}

    tars.write_tar(export.to, make_entries())
    return count


def write_table_shard(export: Export) -> int:
    """Write a shard as a parquet file; return how many triplets it has."""
    rows = [_make_row(files) for _, files in shards.read_entries(export.path)]
    tables.write_rows(export.to, rows, COLUMNS)
    return len(rows)


# Format -> what writes a shard, and the name of its file (split, number, of how many), by which readers know the split.
WRITERS: dict[str, tuple[Callable[[Export], int], str]] = {
    "webdataset": (write_tar_shard, "{split}-{number:05d}.tar"),
    "parquet": (write_table_shard, "data/{split}-{number:05d}-of-{total:05d}.parquet"),
}


def export_triplets(triplets: Path, format_name: str, to: Path) -> int:
    """Write the accepted triplets of a folder in a format, whole or not at all; return how many they are.

    Raises:
        InputInvalid: `to` holds something else than such an export, or a shard is missing, cut short or damaged.
        ResourceUnavailable: the disk is full or workers were killed.
    """
    write, name = WRITERS[format_name]
    require_apart(to, triplets)
    require_replaceable_folder(to, KIND)
    rows = shards.read_table(triplets / "manifest.parquet", remedy="give a folder of triplets")
    paths = [triplets / str(shard) for shard in sorted(rows["shard"].unique())]
    of_split: dict[str, list[Path]] = {}
    for path in paths:
        of_split.setdefault(path.stem.rpartition("-")[0] or "train", []).append(path)
    with replace_folder(to, KIND) as folder:
        exports = [
            Export(path, folder / name.format(split=split, number=number, total=len(own)))
            for split, own in of_split.items()
            for number, path in enumerate(own)
        ]
        made = map_shards(write, exports, workers=count_workers(), on_gpu=False)
        return sum(count for _, count in tqdm(made, "exporting", len(exports), unit=" shards", disable=None))


def _make_row(files: Mapping[str, bytes]) -> dict[str, Any]:
    content = json.loads(files["json"])
    pictures = {"reference_image": files["reference.png"], "target_image": files["target.png"]}
    known = {name: content.get(name) for name in COLUMNS if name not in pictures}
    return {**known, **pictures, "mask_image": files.get("mask.png")}
