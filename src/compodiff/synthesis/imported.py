"""Triplets that are there already, of `compodiff import` or `compodiff dataset clean`, beside those that are made here.

They are judged once more, by the encoder and the floors in use. Keys and pictures get the folder's name before theirs,
as two sets may well use the same ones; the catalogue's pictures keep their names.
"""

import io
import json
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compodiff import shards
from compodiff.catalogue.pictures import on_white
from compodiff.errors import InputInvalid
from compodiff.paths import inside
from compodiff.synthesis.caption_pairs import SPLITS
from compodiff.synthesis.generation import CaptionPair, PicturePair

_REMEDY = "name a folder of `compodiff import` or `compodiff dataset clean`"
REPORT = "report.json"  # names the digest of every shard; written last
_COLUMNS = ("reference_caption", "target_caption", "relative_caption", "relation", "split")


def imported_pairs(folder: Path, catalogued: Container[str]) -> Iterator[CaptionPair]:
    """Yield the caption pairs of a folder's accepted triplets, in the order of its shards.

    Args:
        folder: of shards and manifest.parquet.
        catalogued: names of the catalogue's pictures.

    Raises:
        InputInvalid: the manifest is missing, damaged or of another kind, names an unknown split, or is unfinished.
    """
    rows = shards.read_table(folder / "manifest.parquet", remedy=_REMEDY)
    needed = {"key", "shard", "reference", "target", "accepted", *_COLUMNS}
    if missing := sorted(needed - set(rows)):
        raise InputInvalid(f"{folder / 'manifest.parquet'} lacks {', '.join(missing)}; {_REMEDY}")
    rows = rows[rows["accepted"]]
    if unknown := sorted(set(rows["split"]) - set(SPLITS)):
        raise InputInvalid(f"{folder} has the split {unknown[0]!r}, none of {', '.join(SPLITS)}; import it again")
    if not (folder / REPORT).is_file():
        raise InputInvalid(f"{folder} is not finished: it has no {REPORT}; run its command again")
    prefix = prefix_of(folder)
    for row in rows.to_dict("records"):
        names = {end: row[end] if row[end] in catalogued else prefix + row[end] for end in ("reference", "target")}
        texts = {name: row[name] for name in _COLUMNS}
        # The term that came stands in the shard, beside the pictures.
        yield CaptionPair(key=prefix + row["key"], keyword="", **names, **texts)


class ImportedGenerator:
    """Reads the pictures, masks and keywords of `imported_pairs` out of the folder's shards."""

    def __init__(self, folder: Path) -> None:
        """`folder` is that of the pairs."""
        rows = shards.read_table(folder / "manifest.parquet", remedy=_REMEDY)
        self._folder = folder
        self._shard_of = dict(zip(rows["key"], rows["shard"], strict=True))

    def generate(self, pairs: Sequence[CaptionPair]) -> Iterator[PicturePair]:
        """Yield each pair's triplet.

        Raises:
            InputInvalid: a shard is missing, cut short or damaged, lacks a triplet, or a picture does not decode.
        """
        prefix = prefix_of(self._folder)
        for shard, of_shard in groupby(pairs, lambda pair: self._shard_of[pair.key.removeprefix(prefix)]):
            path = inside(self._folder, shard)
            wanted = {pair.key.removeprefix(prefix): pair for pair in of_shard}
            for key, files in shards.read_entries(path):
                if key in wanted:
                    yield _read(wanted.pop(key), files, f"{path}: {key}")
            if wanted:
                raise InputInvalid(f"{path} lacks the triplet {next(iter(wanted))}; import the set again")


def prefix_of(folder: Path) -> str:
    """What the names of a folder's triplets begin with: without dots, which end a key."""
    return re.sub(r"[^\w-]", "_", folder.resolve().name) + "-"


def _read(pair: CaptionPair, files: dict[str, bytes], where: str) -> PicturePair:
    keyword = json.loads(files["json"]).get("keyword") or ""
    mask = _mask(files["mask.png"]) if "mask.png" in files else None
    try:
        reference, target = (_decoded(files[f"{end}.png"]) for end in ("reference", "target"))
    except (KeyError, OSError, SyntaxError, ValueError) as error:
        raise InputInvalid(
            f"{where}: a picture is missing or does not decode ({error}); leave such out: compodiff dataset clean"
        ) from error
    return PicturePair(replace(pair, keyword=keyword), reference, target, mask)


def _decoded(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as picture:
        return on_white(picture)


def _mask(content: bytes) -> NDArray[np.bool_]:
    with Image.open(io.BytesIO(content)) as mask:
        return np.asarray(mask.convert("L")) > 127
