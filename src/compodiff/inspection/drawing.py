"""Which triplets are looked at, and their pictures."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from compodiff.errors import InputInvalid
from compodiff.images import decode
from compodiff.params import SimilarityFloors
from compodiff.project import find_project_root
from compodiff.storage import shards

SCORES = tuple(SimilarityFloors.model_fields)
NEEDED = {"key", "shard", "relative_caption", "relation", "accepted"}


@dataclass(frozen=True)
class SheetTriplet:
    """A triplet as the sheet shows it.

    Attributes:
        row: of the manifest, and what its entry says besides.
        reference, target, mask: pictures, or None where there is none.
    """

    row: dict[str, Any]
    reference: Image.Image | None
    target: Image.Image | None
    mask: Image.Image | None = None


def read_manifest(triplets: Path) -> pd.DataFrame:
    """Read the rows of a dataset.

    Raises:
        InputInvalid: there is no manifest, or it lacks a column.
    """
    path = triplets / "manifest.parquet"
    rows = shards.read_table(path, remedy="give a folder of triplets")
    if missing := NEEDED - {*rows}:
        raise InputInvalid(f"{path} has no column {', '.join(sorted(missing))}; give a folder of triplets")
    return rows


def read_floors(triplets: Path) -> dict[str, float]:
    """Read what the filters asked for when a dataset was made."""
    path = triplets / "fingerprint.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    made: dict[str, Any] = content.get("params") or content.get("importer") or {}
    return {name: float(value) for name, value in made.get("floors", {}).items()}


def find_catalogue() -> Path | None:
    """Return the catalogue of the project that this is run in, if there is one."""
    try:
        data = find_project_root() / "data"
    except InputInvalid:
        return None
    return data if (data / "ATTRIBUTION.md").is_file() else None


def draw(rows: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Draw `count` rows without repetition, each relation as often as any other as long as it has rows.

    Within a relation, accepted and rejected rows come as they come. The same rows, count and seed give the same draw.
    """
    shuffled = rows.iloc[np.random.default_rng(seed).permutation(len(rows))]
    turn = shuffled.groupby("relation").cumcount()
    return shuffled.assign(turn=turn).sort_values("turn", kind="stable").head(count).drop(columns="turn").sort_index()


def read_pictures(
    triplets: Path, rows: pd.DataFrame, elsewhere: Callable[[str], Image.Image | None] = lambda _: None
) -> list[SheetTriplet]:
    """Read the pictures of rows from the shards; `elsewhere` finds those of rejected triplets, which are in no shard.

    Raises:
        InputInvalid: a shard is missing, cut short or damaged, or a picture does not decode.
    """
    found: dict[str, SheetTriplet] = {}
    kept = rows[rows["accepted"]]
    by_shard = kept.groupby("shard", sort=True)
    for name, own in tqdm(by_shard, "reading shards", len(by_shard), unit=" shards", disable=None):
        wanted = {str(row["key"]): row for row in own.to_dict("records")}
        for key, files in shards.read_entries(triplets / str(name)):
            if key in wanted:
                found[key] = _make_drawn(wanted[key], files, f"{triplets / str(name)}: {key}")
    if missing := {*kept["key"]} - found.keys():
        raise InputInvalid(f"{triplets}: {sorted(missing)[0]} is in no shard; run: compodiff run synthesize")
    return [found.get(str(row["key"])) or _make_rejected(row, elsewhere) for row in rows.to_dict("records")]


def _make_rejected(row: dict[Any, Any], elsewhere: Callable[[str], Image.Image | None]) -> SheetTriplet:
    return SheetTriplet(row, elsewhere(str(row.get("reference"))), elsewhere(str(row.get("target"))))


def _make_drawn(row: dict[Any, Any], files: dict[str, bytes], where: str) -> SheetTriplet:
    pictures = {name: _decode(files[f"{name}.png"], f"{where}.{name}.png") for name in ("reference", "target")}
    mask = _decode(files["mask.png"], f"{where}.mask.png") if "mask.png" in files else None
    return SheetTriplet(json.loads(files["json"]) | row, pictures["reference"], pictures["target"], mask)


def _decode(content: bytes, where: str) -> Image.Image:
    try:
        return decode(content)
    except InputInvalid as error:
        raise InputInvalid(f"{where}: {error}; delete the shard and make it again") from error
