"""Pictures that a generator drew, and the masks it knows, read out of the shards of triplets without unpacking them."""

import io
import tarfile
from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from compodiff.embeddings.making import ExactMask
from compodiff.storage import shards

Extent = tuple[Path, int, int]  # tar, offset, bytes


@dataclass(frozen=True)
class GeneratedPictures:
    """The generated pictures of triplets.

    Attributes:
        places: name -> where its PNG lies.
        masks: name -> the masks of its edits; each pair of pictures has its mask under one of the two.
        digest: changes whenever a picture does.
    """

    places: dict[str, Extent]
    masks: dict[str, list[ExactMask]]
    digest: str

    @classmethod
    def find(cls, triplets: Path, rows: pd.DataFrame, catalogued: Container[str]) -> "GeneratedPictures":
        """Look through the shards that hold the triplets `rows`.

        Args:
            triplets: folder of the shards.
            rows: columns key, shard, reference, target, split.
            catalogued: names of pictures that were not generated.

        Raises:
            InputInvalid: a shard's sidecar is missing.
        """
        is_generated = [name not in catalogued for name in rows["reference"]]
        places: dict[str, Extent] = {}
        masks: dict[str, list[ExactMask]] = defaultdict(list)
        seals: list[str] = []
        known: set[frozenset[str]] = set()
        for shard, own in rows[is_generated].groupby("shard"):
            path = triplets / str(shard)
            seals.append(shards.read_seal(path)["sha256"])
            members = _list_members(path)
            for row in own.itertuples():
                for name, end in ((row.reference, "reference"), (row.target, "target")):
                    places.setdefault(str(name), members[f"{row.key}.{end}.png"])
                pair = frozenset((str(row.reference), str(row.target)))
                if f"{row.key}.mask.png" in members and pair not in known:
                    known.add(pair)
                    cells = _read_cells(members[f"{row.key}.mask.png"])
                    masks[str(row.reference)].append(ExactMask(str(row.target), str(row.split), cells))
        return cls(places, dict(masks), " ".join(seals))

    def read(self, name: str) -> Image.Image:
        """Decode a generated picture."""
        return _decode(self.places[name])


def _list_members(path: Path) -> dict[str, Extent]:
    with tarfile.open(path, "r:") as tar:
        return {member.name: (path, member.offset_data, member.size) for member in tar}


def _read_cells(extent: Extent) -> NDArray[np.bool_]:
    return np.asarray(_decode(extent).convert("L")) > 127


def _decode(extent: Extent) -> Image.Image:
    path, offset, size = extent
    with path.open("rb") as tar:
        tar.seek(offset)
        image = Image.open(io.BytesIO(tar.read(size)))
    image.load()
    return image
