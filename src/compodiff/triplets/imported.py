"""Triplets that are there already, of `compodiff import` or `compodiff dataset clean`, beside those that are made here.

They are judged once more, by the encoder and the floors in use. Keys and pictures get the folder's name before theirs,
as two sets may well use the same ones; the catalogue's pictures keep their names.
"""

import json
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compodiff.catalogue.pictures import paint_on_white
from compodiff.errors import InputInvalid
from compodiff.images import decode
from compodiff.pairs.caption_file import SPLITS
from compodiff.pairs.pair import CaptionPair, PicturePair
from compodiff.storage import shards
from compodiff.storage.names import resolve_inside
from compodiff.storage.tables import read_rows

_REMEDY = "name a folder of `compodiff import` or `compodiff dataset clean`"
REPORT = "report.json"  # names the digest of every shard; written last
_SAME = ("shard", "reference_caption", "target_caption", "relative_caption", "relation", "split")


@dataclass(frozen=True)
class ImportedPair(CaptionPair):
    """A caption pair whose triplet is there already.

    Attributes:
        shard: name of the tar that holds it.
    """

    shard: str = ""


def read_imported_pairs(folder: Path, catalogued: Container[str]) -> Iterator[ImportedPair]:
    """Yield the caption pairs of a folder's accepted triplets, in the order of its shards and in bounded memory.

    Args:
        folder: of shards and manifest.parquet.
        catalogued: names of the catalogue's pictures.

    Raises:
        InputInvalid: the manifest is missing, damaged or of another kind, names an unknown split, or is unfinished.
    """
    rows = read_rows(folder / "manifest.parquet", ("key", "reference", "target", "accepted", *_SAME), remedy=_REMEDY)
    prefix = make_prefix(folder)
    for row in rows:
        if not row.pop("accepted"):
            continue
        if row["split"] not in SPLITS:
            raise InputInvalid(f"{folder} has the split {row['split']!r}, none of {', '.join(SPLITS)}; import it again")
        names = {end: row[end] if row[end] in catalogued else prefix + row[end] for end in ("reference", "target")}
        # The term that came stands in the shard, beside the pictures.
        yield ImportedPair(**row | names | {"key": prefix + row["key"], "keyword": ""})
    if not (folder / REPORT).is_file():
        raise InputInvalid(f"{folder} is not finished: it has no {REPORT}; run its command again")


class ImportedGenerator:
    """Reads the pictures, masks and keywords of `read_imported_pairs` out of the folder's shards."""

    def __init__(self, folder: Path) -> None:
        """`folder` is that of the pairs."""
        self._folder = folder

    def generate(self, pairs: Sequence[CaptionPair]) -> Iterator[PicturePair]:
        """Yield each pair's triplet.

        Raises:
            InputInvalid: a shard is missing, cut short or damaged, lacks a triplet, or a picture does not decode.
        """
        prefix = make_prefix(self._folder)
        own = (pair for pair in pairs if isinstance(pair, ImportedPair))
        for shard, of_shard in groupby(own, lambda pair: pair.shard):
            path = resolve_inside(self._folder, shard)
            wanted = {pair.key.removeprefix(prefix): pair for pair in of_shard}
            for key, files in shards.read_entries(path):
                if key in wanted:
                    yield _read(wanted.pop(key), files, f"{path}: {key}")
            if wanted:
                raise InputInvalid(f"{path} lacks the triplet {next(iter(wanted))}; import the set again")


def make_prefix(folder: Path) -> str:
    """What the names of a folder's triplets begin with: without dots, which end a key."""
    return re.sub(r"[^\w-]", "_", folder.resolve().name) + "-"


def _read(pair: CaptionPair, files: dict[str, bytes], where: str) -> PicturePair:
    keyword = json.loads(files["json"]).get("keyword") or ""
    mask = _read_mask(files["mask.png"]) if "mask.png" in files else None
    try:
        reference, target = (_decode(files[f"{end}.png"]) for end in ("reference", "target"))
    except (KeyError, InputInvalid) as error:
        raise InputInvalid(
            f"{where}: a picture is missing or does not decode ({error}); leave such out: compodiff dataset clean"
        ) from error
    return PicturePair(replace(pair, keyword=keyword), reference, target, mask)


def _decode(content: bytes) -> Image.Image:
    return paint_on_white(decode(content))


def _read_mask(content: bytes) -> NDArray[np.bool_]:
    return np.asarray(decode(content).convert("L")) > 127
