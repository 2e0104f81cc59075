"""Which rows of a set are looked at, and their pictures."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from compodiff.errors import InputInvalid
from compodiff.images import decode
from compodiff.images.mask_cells import MASK_SIZE
from compodiff.params import SimilarityFloors
from compodiff.project import find_project_root
from compodiff.sets import PAIRS, Place, PlaceReader, Shard, TrainingSet, open_set
from compodiff.validation.reading import find_validated, iterate_validated

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
    return pd.concat(iterate_rows(dataset, validated), ignore_index=True)


def iterate_rows(dataset: Path, validated: Path | None = None) -> Iterator[pd.DataFrame]:
    """Yield the rows of a set as `read_rows` gives them, those of one shard at a time.

    Raises:
        InputInvalid: see `read_rows`.
    """
    opened = open_set(dataset)
    opened.description.require_pictures("inspection")
    shards = opened.description.shards
    folder = validated or find_validated(dataset)
    if folder is None:
        yield from (_read_shard(opened, shard).assign(accepted=True, rejected_by="") for shard in shards)
        return
    other = InputInvalid(f"{folder} is of other rows than {dataset}; run: dvc repro validate@{dataset.name}")
    said = iterate_validated(dataset, folder, [shard.rows for shard in shards])
    for shard in shards:
        rows, own = _read_shard(opened, shard), next(said)
        if not np.array_equal(own["key"].to_numpy(object), rows["key"].to_numpy(object)):
            raise other
        yield rows.assign(**{name: own[name].to_numpy() for name in (*SCORES, "accepted", "rejected_by")})
    if len(next(said)):
        raise other


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


def _name_relations(opened: TrainingSet, shard: Shard) -> list[str]:
    if opened.description.kind == PAIRS:
        return [PAIRS] * shard.rows
    return [name or "" for name in opened.read_rows(shard, ["relation"])["relation"].to_pylist()]


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


def draw(relations: "pd.Series[Any]", count: int, seed: int) -> NDArray[np.int64]:
    """Draw the places of `count` rows without repetition, each relation as often as any other as long as it has rows.

    Within a relation, accepted and rejected rows come as they come. The same relations, count and seed give the same
    draw, in ascending order.
    """
    shuffled = np.random.default_rng(seed).permutation(len(relations))
    turn = relations.iloc[shuffled].groupby(relations.iloc[shuffled].to_numpy()).cumcount()
    return np.sort(shuffled[np.argsort(turn.to_numpy(), kind="stable")[:count]])


def draw_rows(dataset: Path, validated: Path | None, count: int, seed: int) -> tuple[pd.DataFrame, int]:
    """Draw rows of a set, as `read_rows` gives them; return them, and how many there are to draw from.

    Raises:
        InputInvalid: see `read_rows`.
    """
    opened = open_set(dataset)
    names = dict[str, int]()
    numbers = [
        np.array([names.setdefault(name, len(names)) for name in _name_relations(opened, shard)], np.int32)
        for shard in opened.description.shards
    ]
    relations = np.concatenate(numbers)
    drawn = draw(pd.Series(relations), count, seed)
    return select_rows(dataset, validated, lambda rows: np.isin(rows.index, drawn, assume_unique=True)), len(relations)


def select_rows(
    dataset: Path, validated: Path | None, choose: Callable[[pd.DataFrame], NDArray[np.bool_]]
) -> pd.DataFrame:
    """Return some rows of a set as `read_rows` gives them; one shard is in memory at a time.

    Args:
        dataset: see `read_rows`.
        validated: see `read_rows`.
        choose: rows of a shard, whose index counts through the set -> (n,) which of them.

    Raises:
        InputInvalid: see `read_rows`.
    """
    chosen, start = list[pd.DataFrame](), 0
    for rows in iterate_rows(dataset, validated):
        counted = rows.set_axis(pd.RangeIndex(start, start + len(rows)))
        chosen.append(counted[choose(counted)])
        start += len(rows)
    return pd.concat(chosen)


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
