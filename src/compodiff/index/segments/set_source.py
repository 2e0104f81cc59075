"""The pictures of a set that is embedded (artifacts/embeddings/NAME), as shards of vectors for an index.

Each shard of the set is one; a picture that two of them name belongs to the first, one that could not be read to none.
Shapes: N pictures, D embedding width.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compodiff.embeddings.set_arrays import READ, SCORED_TARGET, SetEmbeddings
from compodiff.embeddings.set_pass import plan_rows
from compodiff.encoders import EncoderManifest
from compodiff.errors import InputInvalid
from compodiff.index.segments.columns import Schema, Table, make_table, name_texts
from compodiff.index.segments.sources import Shard, complete_schema
from compodiff.index.segments.tables import hash_ids
from compodiff.params import EmbeddingParams
from compodiff.sets import TrainingSet, open_set
from compodiff.sets.addresses import is_address, join_address

_CAPTIONS = ("texts", "target_caption")  # column that describes a picture, of pairs and of triplets
_SAID = name_texts("caption", "split")
_NO_MASKS = EmbeddingParams.model_construct(masks_per_picture=0)


@dataclass(frozen=True)
class SetShard(Shard):
    """The pictures of one shard of a set: rows of its embeddings from `first` on, those whose numbers are `kept`."""

    of_set: TrainingSet = field(kw_only=True)
    number: int = field(kw_only=True)
    first: int = field(kw_only=True)
    kept: NDArray[np.int64] = field(kw_only=True)
    root: Path = field(kw_only=True)  # that paths start from

    def identify(self) -> list[Any]:
        """Return what changes when the shard does."""
        return [*super().identify(), self.of_set.description.shards[self.number].sha256]

    def read(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Return some vectors (n, D), as they are."""
        return super().read(self.first + self.kept[rows])

    def read_schema(self) -> Schema:
        """Return the columns that its rows will have, and their types."""
        return complete_schema(_SAID)

    def _read_rows(self) -> Iterator[Table]:
        """Yield the table of the pictures."""
        table = _tabulate(self.of_set, self.number).iloc[self.kept].reset_index(drop=True)
        files = {name: self._find_path(name) for name in table["path"].unique()}
        table["path"] = table["path"].map(files)
        yield make_table(table)

    def _find_path(self, name: str) -> str:
        where = join_address(self.of_set.address, name)
        return where if is_address(where) else os.path.relpath(where, self.root)


def list_set_shards(folder: Path, set_folder: Path, encoder: EncoderManifest, root: Path) -> list[Shard]:
    """Return the shards of the embeddings at `folder` of the set at `set_folder`; paths start from `root`.

    Raises:
        InputInvalid: the embeddings are of another set, or either is damaged.
        EncoderMismatch: they are another encoder's.
    """
    embedded, opened = SetEmbeddings.load(folder, encoder=encoder), open_set(set_folder)
    if embedded.manifest["set"] != opened.description.digest:
        raise InputInvalid(f"{folder} holds embeddings of another set than {set_folder}; name its own: --set FOLDER")
    numbers = {shard.sha256: number for number, shard in enumerate(opened.description.shards)}
    states, images = embedded.open_array("states"), folder / "images.npy"
    shards, first, seen, known = list[Shard](), 0, 0, np.empty(0, np.uint64)
    for part in embedded.manifest["parts"]:
        lengths = part["lengths"]
        if part["sha256"] in numbers:
            number = numbers[part["sha256"]]
            hashes = hash_ids(_tabulate(opened, number)["picture_id"])
            fresh = (states[seen : seen + len(hashes)] == READ) & ~np.isin(hashes, known)
            known, kept = np.union1d(known, hashes), np.flatnonzero(fresh)
            of_set: dict[str, Any] = {"of_set": opened, "number": number, "first": first, "kept": kept, "root": root}
            shards.append(SetShard(images, None, len(kept), encoder.embedding_dim, **of_set))
        first, seen = first + lengths["images"], seen + lengths["states"]
    return [shard for shard in shards if shard.count]


def _tabulate(opened: TrainingSet, number: int) -> pd.DataFrame:
    """Return what a shard of a set says of its pictures, in the order in which they were embedded."""
    shard, kind = opened.description.shards[number], opened.description.kind
    rows = opened.read_rows(shard).to_pylist()
    plan = plan_rows(rows, kind, _NO_MASKS)
    captions: list[str | None] = [None] * len(plan.pictures)
    column = next(name for name in _CAPTIONS if name in rows[0]) if rows else _CAPTIONS[0]
    for row, scored in zip(rows, plan.scored, strict=True):
        said = row[column]
        captions[scored[SCORED_TARGET]] = said if isinstance(said, str) or said is None else next(iter(said), None)
    places = plan.pictures
    return pd.DataFrame(
        {
            "picture_id": pd.Series([place.name for place in places], dtype=object),
            "path": pd.Series([place.file for place in places], dtype=object),
            "offset": pd.Series([place.offset for place in places], dtype="int64"),
            "length": pd.Series([place.length for place in places], dtype="int64"),
            "caption": pd.Series(captions, dtype="string"),
            "split": shard.split,
        }
    )
