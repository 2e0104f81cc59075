"""What a set's pictures are to an encoder, shard by shard: what cleaning compares, kept on disk.

    train-00000.embeddings.npy  (T, E, D) float16, of unit length: references and targets, or a pair's picture
    train-00000.looks.npy       (T, E, L) uint8: how the pictures look (compodiff/images/looks.py)
    train-00000.parquet         keys in the shard's order, what each asks for, and why it cannot be kept for one of its
                                pictures, "" where nothing is wrong; written last

Shapes: T rows, E pictures of a row, D embedding width, L bytes of a look.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray
from PIL import Image

from compodiff.embeddings.lengths import shorten_rows
from compodiff.errors import InputInvalid
from compodiff.images import decode
from compodiff.images.decoding import paint_on_white
from compodiff.images.looks import LOOK_SHAPE, Looks, compute_look
from compodiff.sets import PAIRS, TRIPLETS, Place, Shard, TrainingSet, open_set
from compodiff.storage.arrays import open_array
from compodiff.storage.atomic import replace_path
from compodiff.storage.tables import open_table_writer

if TYPE_CHECKING:
    from compodiff.encoders import Encoder
    from compodiff.stable_diffusion.generator import SafetyChecker

# Kind of a set -> columns of a row's pictures, and of the texts that say what the row asks for.
ENDS: Mapping[str, tuple[str, ...]] = {PAIRS: ("picture",), TRIPLETS: ("reference", "target")}
_ASKING = {PAIRS: "texts", TRIPLETS: "relative_captions"}
UNREADABLE, UNSAFE = "unreadable", "unsafe"
_AT_ONCE = 256  # rows whose pictures are in memory
_MAPPED = 128  # arrays of shards at a time
Row = tuple[NDArray[np.float16], NDArray[np.uint8], str]  # embedding (D,), look, why it cannot be kept


@dataclass(frozen=True)
class Surveyor:
    """Surveys shards; picklable, and loads its networks when a worker surveys its first one.

    Attributes:
        address: of the set.
        facts: folder for what it finds.
        encoder: folder of the encoder.
        safety_checker: folder or hub id; None leaves pictures unchecked.
        batch_size: pictures that the encoder embeds at a time.
    """

    address: str
    facts: Path
    encoder: Path
    safety_checker: str | None
    batch_size: int

    def is_done(self, shard: Shard) -> bool:
        """Whether the facts of a shard are there."""
        return _name_facts(self.facts, shard).is_file()

    def __call__(self, shard: Shard) -> None:
        """Survey one shard; each distinct picture is looked at once."""
        kind = self._set.description.kind
        known: dict[tuple[str, int], Row] = {}
        keys, asks, found = list[str](), list[str](), list[list[Row]]()
        for batch in self._set.read_rows(shard).to_batches(_AT_ONCE):
            rows = batch.to_pylist()
            places = [[Place.of(row[end]) for end in ENDS[kind]] for row in rows]
            new = {_identify(it): it for of_row in places for it in of_row if _identify(it) not in known}
            known.update(zip(new, self._look_at(list(new.values())), strict=True))
            keys += [row["key"] for row in rows]
            asks += [_normalise(row[_ASKING[kind]]) for row in rows]
            found += [[known[_identify(it)] for it in of_row] for of_row in places]
        width = self._encoder.manifest.embedding_dim
        embeddings = np.array([[it[0] for it in row] for row in found], np.float16)
        looks = np.array([[it[1] for it in row] for row in found], np.uint8)
        _save(self.facts, shard, "embeddings", embeddings.reshape(-1, len(ENDS[kind]), width))
        _save(self.facts, shard, "looks", looks.reshape(-1, len(ENDS[kind]), *LOOK_SHAPE))
        lost = [f"lost_{end}" for end in ENDS[kind]]
        with open_table_writer(_name_facts(self.facts, shard), dict.fromkeys(("key", "asks", *lost), str)) as table:
            for key, asked, row in zip(keys, asks, found, strict=True):
                why = dict(zip(lost, (it[2] for it in row), strict=True))
                table.add({"key": key, "asks": asked, **why})

    def _look_at(self, places: Sequence[Place]) -> list[Row]:
        pictures = [self._read(place) for place in places]
        readable = [picture for picture in pictures if picture is not None]
        embeddings = iter(embed_as_units(self._encoder, readable, self.batch_size))
        unsafe = iter(self._find_unsafe(readable))
        nothing = np.zeros(self._encoder.manifest.embedding_dim, np.float16)
        return [
            (nothing, np.zeros(LOOK_SHAPE, np.uint8), UNREADABLE)
            if picture is None
            else (next(embeddings), compute_look(picture), UNSAFE if next(unsafe) else "")
            for picture in pictures
        ]

    def _read(self, place: Place) -> Image.Image | None:
        try:
            return paint_on_white(decode(self._set.places.read(place)))
        except InputInvalid:
            return None

    def _find_unsafe(self, pictures: Sequence[Image.Image]) -> list[bool]:
        if self._checker is None:
            return [False] * len(pictures)
        some = range(0, len(pictures), self.batch_size)
        return [flag for first in some for flag in self._checker.find_unsafe(pictures[first : first + self.batch_size])]

    @cached_property
    def _set(self) -> TrainingSet:
        return open_set(self.address)

    @cached_property
    def _encoder(self) -> "Encoder":
        from compodiff.encoders import load_encoder

        return load_encoder(self.encoder).move_to_gpu()

    @cached_property
    def _checker(self) -> "SafetyChecker | None":
        if self.safety_checker is None:
            return None
        from compodiff.stable_diffusion.generator import SafetyChecker

        return SafetyChecker.load(self.safety_checker)


@dataclass(frozen=True)
class Survey:
    """The facts of all shards, T rows; arrays are mapped where they are asked for.

    Attributes:
        facts: their folder.
        ends: names of a row's pictures.
        shards: of the set.
    """

    facts: Path
    ends: tuple[str, ...]
    shards: tuple[Shard, ...]
    # A map holds its file open, and a process may open some 1,000.
    _maps: LRUCache[Path, NDArray[Any]] = field(default_factory=lambda: LRUCache(_MAPPED))

    @classmethod
    def open(cls, surveyor: Surveyor, kind: str, shards: Sequence[Shard]) -> "Survey":
        """Open the facts of surveyed shards."""
        return cls(surveyor.facts, ENDS[kind], tuple(shards))

    @property
    def count(self) -> int:
        """Return the number of rows."""
        return int(self._starts[-1])

    def list_tables(self) -> list[tuple[int, Path]]:
        """Return the table of each shard's rows, with the number of its first row."""
        starts = self._starts[:-1].tolist()
        return [(first, _name_facts(self.facts, shard)) for first, shard in zip(starts, self.shards, strict=True)]

    def read_by_shard(self) -> Iterator[NDArray[np.float16]]:
        """Embeddings (T of the shard, E, D) of one shard after the other."""
        for shard in self.shards:
            yield self._map("embeddings", shard)

    def read_embeddings(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(len(rows), E, D) of some rows."""
        return self._gather("embeddings", rows).astype(np.float32)

    def read_looks(self, rows: NDArray[np.int64]) -> Looks:
        """(len(rows), E, L) of some rows."""
        return self._gather("looks", rows)

    def _gather(self, kind: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        places = np.searchsorted(self._starts, rows, side="right") - 1
        parts, order = list[NDArray[Any]](), list[NDArray[np.int64]]()
        for place in np.unique(places):
            here = np.flatnonzero(places == place)
            mapped = self._map(kind, self.shards[place])
            parts.append(mapped[rows[here] - self._starts[place]])
            order.append(here)
        found: NDArray[Any] = np.concatenate(parts)[np.argsort(np.concatenate(order))]
        return found

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """Return the number of each shard's first row, and that of all rows last."""
        return np.cumsum([0, *(shard.rows for shard in self.shards)])

    def _map(self, kind: str, shard: Shard) -> NDArray[Any]:
        path = _name_facts(self.facts, shard, f"{kind}.npy")
        if path not in self._maps:
            self._maps[path] = open_array(path, remedy=f"remove {self.facts} and run again")
        return self._maps[path]


def embed_as_units(encoder: "Encoder", pictures: Iterable[Image.Image], batch_size: int) -> NDArray[np.float16]:
    """Embed pictures, (N, D) of unit length."""
    embeddings = encoder.encode_images(pictures, batch_size).cpu().numpy()
    return shorten_rows(embeddings).astype(np.float16)


def _identify(place: Place) -> tuple[str, int]:
    return place.file, place.offset


def _normalise(texts: Sequence[str]) -> str:
    """Return what a row asks for in one spelling, so that equal wishes are equal texts."""
    return "\n".join(sorted(" ".join(text.casefold().split()) for text in texts))


def _name_facts(facts: Path, shard: Shard, suffix: str = "parquet") -> Path:
    return facts / f"{Path(shard.file).stem}.{suffix}"


def _save(facts: Path, shard: Shard, kind: str, array: NDArray[Any]) -> None:
    with replace_path(_name_facts(facts, shard, f"{kind}.npy")) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)
