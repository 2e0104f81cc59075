"""Which rows of a set are looked at, and their pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from compodiff.errors import InputInvalid
from compodiff.images import decode
from compodiff.images.mask_cells import MASK_SIZE
from compodiff.params import SimilarityFloors
from compodiff.project import find_project_root
from compodiff.sets import PAIRS, Place, PlaceReader, Shard, TrainingSet, open_set
from compodiff.validation.reading import find_validated, read_validated

SCORES = tuple(SimilarityFloors.model_fields)


@dataclass(frozen=True)
class SheetRow:
    """A row as the sheet shows it.

    Attributes:
        row: as `read_rows` gives it.
        reference, target, mask: pictures, or None where there is none, or none that can be read.
    """

    row: dict[str, Any]
    reference: Image.Image | None
    target: Image.Image | None
    mask: Image.Image | None = None


def read_rows(dataset: Path, validated: Path | None = None) -> pd.DataFrame:
    """Read the rows of a set, with what the stage validate said of them, where it did.

    Args:
        dataset: folder of the set.
        validated: folder that validate wrote; None finds it.

    Returns:
        Columns key, shard, number (in the shard), split, names of the pictures, captions, relation, accepted,
        rejected_by, and the scores where the set was validated.

    Raises:
        InputInvalid: there is no set, or what validate said is of another one.
    """
    opened = open_set(dataset)
    opened.description.require_pictures("inspection")
    rows = pd.concat([_read_shard(opened, shard) for shard in opened.description.shards], ignore_index=True)
    folder = validated or find_validated(dataset)
    if folder is None:
        return rows.assign(accepted=True, rejected_by="")
    said = read_validated(dataset, folder)
    if not np.array_equal(said["key"].to_numpy(object), rows["key"].to_numpy(object)):
        raise InputInvalid(f"{folder} is of other rows than {dataset}; run: dvc repro validate@{dataset.name}")
    return rows.assign(**{name: said[name].to_numpy() for name in (*SCORES, "accepted", "rejected_by")})


def _read_shard(opened: TrainingSet, shard: Shard) -> pd.DataFrame:
    table = opened.read_rows(shard)
    texts = {name: table[name].to_pylist() for name in ("key", "split")}
    texts |= {"shard": [shard.file] * len(table), "number": list(range(len(table)))}
    if opened.description.kind == PAIRS:
        pictures = {"target": _name_pictures(table, "picture")}
        said = {"relative_caption": _join(table["texts"].to_pylist()), "relation": [PAIRS] * len(table)}
    else:
        pictures = {end: _name_pictures(table, end) for end in ("reference", "target")}
        said = {name: table[name].to_pylist() for name in ("reference_caption", "target_caption", "relation")}
        said["relative_caption"] = _join(table["relative_captions"].to_pylist())
    return pd.DataFrame(texts | pictures | said).fillna({name: "" for name in said})


def _name_pictures(table: Any, column: str) -> list[str]:
    names: list[str] = table[column].combine_chunks().field("name").to_pylist()
    return names


def _join(captions: list[list[str]]) -> list[str]:
    return [" / ".join(each) for each in captions]


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


def read_pictures(dataset: Path, rows: pd.DataFrame) -> list[SheetRow]:
    """Read the pictures of rows from where they lie.

    Args:
        dataset: folder of the set.
        rows: of `read_rows`.

    Raises:
        InputInvalid: a shard is missing, cut short or damaged.
    """
    opened = open_set(dataset)
    shards = {shard.file: shard for shard in opened.description.shards}
    found: dict[tuple[str, int], SheetRow] = {}
    by_shard = rows.groupby("shard", sort=True)
    for name, own in tqdm(by_shard, "reading shards", len(by_shard), unit=" shards", disable=None):
        stored = opened.read_rows(shards[str(name)]).take(own["number"].to_numpy()).to_pylist()
        for row, values in zip(own.to_dict("records"), stored, strict=True):
            found[str(name), row["number"]] = _show(row, values, opened.places)
    return [found[key] for key in zip(rows["shard"], rows["number"], strict=True)]


def _show(row: Mapping[Any, Any], values: Mapping[str, Any], places: PlaceReader) -> SheetRow:
    target = _read(values.get("target") or values["picture"], places)
    reference = None if values.get("reference") is None else _read(values["reference"], places)
    mask = None if values.get("mask") is None else _unpack_mask(values["mask"])
    return SheetRow(dict(row), reference, target, mask)


def _read(place: Mapping[str, Any], places: PlaceReader) -> Image.Image | None:
    try:
        return decode(places.read(Place.of(place)))
    except InputInvalid:
        return None


def _unpack_mask(bits: bytes) -> Image.Image:
    cells = np.unpackbits(np.frombuffer(bits, np.uint8)).astype(bool).reshape(MASK_SIZE, MASK_SIZE)
    return Image.fromarray(cells)
