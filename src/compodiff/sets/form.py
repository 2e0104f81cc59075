"""The form of a set: what `set.json` says, and the columns of a shard's rows.

    set.json               kind, licence, where it comes from, rows of each split, shards with their digests
    train-00000.parquet    rows of one split
    train-00000.tar        pictures that were made for these rows, where there are any

Pictures are referred to where they lie and as they are: a `Place` names a file (a tar, a picture's own file) by its
path from the set's folder, by an absolute path or by an address that fsspec opens, and a range of bytes in it.

A row of pairs has one picture and the texts that describe it, and a mask where one was looked for. A row of triplets
has a reference, a target and one or more relative captions; captions of both pictures, a keyword, a mask and hard
negatives where they are known.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from compodiff.errors import InputInvalid
from compodiff.images.mask_cells import MASK_SIZE

PAIRS, TRIPLETS = "pairs", "triplets"
SPLITS = ("train", "validation")
DESCRIPTION = "set.json"
WHOLE_FILE = -1
MASK_BYTES = MASK_SIZE * MASK_SIZE // 8

_TEXT, _TEXTS = pa.string(), pa.list_(pa.string())
PLACE = pa.struct([("name", _TEXT), ("file", _TEXT), ("offset", pa.int64()), ("length", pa.int64())])
SCHEMAS = {
    PAIRS: pa.schema([("key", _TEXT), ("split", _TEXT), ("picture", PLACE), ("texts", _TEXTS)]),
    TRIPLETS: pa.schema(
        [
            *(("key", _TEXT), ("split", _TEXT), ("reference", PLACE), ("target", PLACE)),
            *(("reference_caption", _TEXT), ("target_caption", _TEXT), ("relative_captions", _TEXTS)),
            *(("relation", _TEXT), ("keyword", _TEXT), ("mask", pa.binary()), ("negatives", pa.list_(PLACE))),
        ]
    ),
}
# Columns that a shard has only where one of its rows has a value.
OPTIONAL = {PAIRS: pa.schema([("mask", pa.binary())]), TRIPLETS: pa.schema([])}


@dataclass(frozen=True)
class Place:
    """Where the bytes of a picture lie.

    Attributes:
        name: for people; unique where two places of a set are two pictures.
        file: path from the set's folder, absolute path, or address.
        offset: where the picture begins in the file, bytes.
        length: bytes; WHOLE_FILE: all of the file.
    """

    name: str
    file: str
    offset: int = 0
    length: int = WHOLE_FILE

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Place":
        """Take a place out of a row."""
        return cls(value["name"], value["file"], value["offset"], value["length"])

    def to_row(self) -> dict[str, Any]:
        """Return the place as a value of a row."""
        return dict(vars(self))


@dataclass(frozen=True)
class Shard:
    """A shard as `set.json` lists it: file name of its rows, their split and number, and the file's sha256."""

    file: str
    split: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Vectors:
    """What the pictures of a set are that were embedded elsewhere: a place holds an embedding's bytes.

    Attributes:
        encoder: manifest of the encoder that made them, by the word of whoever imported them.
        width: numbers of an embedding.
        dtype: NumPy's name of their type.
        length: that embeddings are given; None: as they are.
    """

    encoder: Mapping[str, Any]
    width: int
    dtype: str
    length: float | None = None


@dataclass(frozen=True)
class SetDescription:
    """What `set.json` says.

    Attributes:
        kind: pairs or triplets.
        licence: of the pictures and texts, in words.
        source: where they come from, in words.
        shards: in the order of the rows.
        digest: changes whenever a row does; pictures are not read for it.
        notes: counts of what was left out, and the like.
        at: address of the folder that shards and places count from; "" for the folder of this set.json.
        vectors: what its pictures are where they are embeddings, None where they are pictures.
    """

    kind: str
    licence: str
    source: str
    shards: tuple[Shard, ...]
    digest: str
    notes: Mapping[str, int]
    at: str = ""
    vectors: Vectors | None = None

    @property
    def rows(self) -> dict[str, int]:
        """Return the number of rows of each split."""
        return {split: sum(shard.rows for shard in self.shards if shard.split == split) for split in SPLITS}

    def to_json(self) -> dict[str, Any]:
        """Return the content of `set.json`."""
        content = {**asdict(self), "rows": self.rows, "notes": dict(self.notes)}
        return {name: value for name, value in content.items() if name != "vectors" or value is not None}

    def require_pictures(self, what: str) -> None:
        """Refuse a set without pictures.

        Raises:
            InputInvalid: it holds embeddings.
        """
        if self.vectors is not None:
            raise InputInvalid(f"the set of {self.source} holds embeddings and no pictures; {what} looks at pictures")

    @classmethod
    def from_json(cls, content: Any, where: str) -> "SetDescription":
        """Read the content of `set.json`.

        Raises:
            InputInvalid: it describes no set.
        """
        try:
            shards = tuple(Shard(**shard) for shard in content["shards"])
            told = {key: str(content[key]) for key in ("kind", "licence", "source", "digest", "at")}
            vectors = Vectors(**content["vectors"]) if content.get("vectors") else None
            description = cls(**told, shards=shards, notes=dict(content["notes"]), vectors=vectors)
        except (KeyError, TypeError, ValueError) as error:
            raise InputInvalid(
                f"{where} describes no set ({error}); name the set.json of `compodiff import`"
            ) from error
        if description.kind not in SCHEMAS:
            raise InputInvalid(f"{where} is of the kind {description.kind!r}, not {PAIRS} or {TRIPLETS}")
        if wrong := next((shard for shard in shards if shard.split not in SPLITS), None):
            raise InputInvalid(f"{where}: {wrong.file} has the split {wrong.split!r}, none of {', '.join(SPLITS)}")
        return description
