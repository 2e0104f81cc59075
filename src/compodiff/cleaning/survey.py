"""What a dataset's pictures are to an encoder, shard by shard: what cleaning compares, kept on disk.

    train-00000.embeddings.npy  (T, 2, D) float16, of unit length: references and targets
    train-00000.looks.npy       (T, 2, L) uint8: how both pictures look (compodiff/images/looks.py)
    train-00000.json            keys in the tar's order, and which cannot be kept for their pictures; written last

Shapes: T triplets, D embedding width, L bytes of a look.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compodiff.catalogue.pictures import paint_on_white
from compodiff.errors import InputInvalid
from compodiff.images import decode
from compodiff.images.looks import LOOK_SHAPE, Looks, compute_look
from compodiff.storage import shards
from compodiff.storage.atomic import replace_path, write_json

if TYPE_CHECKING:
    from compodiff.encoders import Encoder
    from compodiff.stable_diffusion.generator import SafetyChecker

ENDS = ("reference", "target")
UNREADABLE, UNSAFE = "unreadable", "unsafe"
_AT_ONCE = 256  # triplets whose pictures are in memory
Row = tuple[NDArray[np.float16], NDArray[np.uint8], str]  # embedding (D,), look, why it cannot be kept


@dataclass(frozen=True)
class Surveyor:
    """Surveys shards; picklable, and loads its networks when a worker surveys its first one.

    Attributes:
        facts: folder for what it finds.
        encoder: folder of the encoder.
        safety_checker: folder or hub id; None leaves pictures unchecked.
        batch_size: pictures that the encoder embeds at a time.
    """

    facts: Path
    encoder: Path
    safety_checker: str | None
    batch_size: int

    def is_done(self, shard: Path) -> bool:
        """Return whether the facts of a shard are there."""
        return _name_facts(self.facts, shard).is_file()

    def __call__(self, shard: Path) -> None:
        """Survey one shard; each distinct picture is looked at once."""
        known: dict[bytes, Row] = {}
        keys, rows = [], list[tuple[Row, Row]]()
        for entries in _split_entries(shards.read_entries(shard), _AT_ONCE):
            files = [[_find_picture(content, end) for end in ENDS] for _, content in entries]
            digests = [[hashlib.sha256(file).digest() for file in pair] for pair in files]
            new = {
                digest: file
                for pair, of_pair in zip(digests, files, strict=True)
                for digest, file in zip(pair, of_pair, strict=True)
                if digest not in known
            }
            known.update(zip(new, self._look_at(list(new.values())), strict=True))
            keys += [key for key, _ in entries]
            rows += [(known[reference], known[target]) for reference, target in digests]
        width = self._encoder.manifest.embedding_dim
        _save(
            self.facts, shard, "embeddings", np.array([[row[0] for row in pair] for pair in rows], np.float16), (width,)
        )
        _save(self.facts, shard, "looks", np.array([[row[1] for row in pair] for pair in rows], np.uint8), LOOK_SHAPE)
        lost = {key: [row[2] for row in pair] for key, pair in zip(keys, rows, strict=True) if any(r[2] for r in pair)}
        write_json(_name_facts(self.facts, shard), {"keys": keys, "lost": lost})

    def _look_at(self, files: Sequence[bytes]) -> list[Row]:
        pictures = [_decode_or_none(file) for file in files]
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

    def _find_unsafe(self, pictures: Sequence[Image.Image]) -> list[bool]:
        if self._checker is None:
            return [False] * len(pictures)
        some = range(0, len(pictures), self.batch_size)
        return [flag for first in some for flag in self._checker.find_unsafe(pictures[first : first + self.batch_size])]

    @cached_property
    def _encoder(self) -> "Encoder":
        import torch

        from compodiff.encoders import load_encoder

        encoder = load_encoder(self.encoder)
        encoder.model.to("cuda" if torch.cuda.is_available() else "cpu")
        return encoder

    @cached_property
    def _checker(self) -> "SafetyChecker | None":
        if self.safety_checker is None:
            return None
        from compodiff.stable_diffusion.generator import SafetyChecker

        return SafetyChecker.load(self.safety_checker)


@dataclass(frozen=True)
class Survey:
    """The facts of all shards, T triplets; arrays are mapped, not read.

    Attributes:
        keys: of each triplet, in the order of shards and tars.
        lost: of triplets that cannot be kept: why, for reference and target; "" where nothing is wrong.
    """

    keys: list[str]
    lost: dict[str, list[str]]
    _starts: NDArray[np.int64]  # of the shards' first triplets, and T
    _embeddings: list[NDArray[np.float16]]
    _looks: list[NDArray[np.uint8]]

    @classmethod
    def open(cls, facts: Path, paths: Sequence[Path]) -> "Survey":
        """Open the facts of surveyed shards."""
        said = [json.loads(_name_facts(facts, path).read_text(encoding="utf-8")) for path in paths]
        arrays = {
            kind: [np.load(_name_facts(facts, path, f"{kind}.npy"), mmap_mode="r") for path in paths]
            for kind in ("embeddings", "looks")
        }
        return cls(
            keys=[key for each in said for key in each["keys"]],
            lost={key: why for each in said for key, why in each["lost"].items()},
            _starts=np.cumsum([0, *(len(each["keys"]) for each in said)]),
            _embeddings=arrays["embeddings"],
            _looks=arrays["looks"],
        )

    def read_by_shard(self) -> Iterator[NDArray[np.float16]]:
        """Yield embeddings (T of the shard, 2, D) of one shard after the other."""
        yield from self._embeddings

    def read_embeddings(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(len(rows), 2, D) of some triplets."""
        return self._gather(self._embeddings, rows).astype(np.float32)

    def read_looks(self, rows: NDArray[np.int64]) -> Looks:
        """(len(rows), 2, L) of some triplets."""
        return self._gather(self._looks, rows)

    def _gather(self, arrays: list[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
        places = np.searchsorted(self._starts, rows, side="right") - 1
        found = np.empty((len(rows), *arrays[0].shape[1:]), arrays[0].dtype)
        for place in np.unique(places):
            here = places == place
            found[here] = arrays[place][rows[here] - self._starts[place]]
        return found


def embed_as_units(encoder: "Encoder", pictures: Iterable[Image.Image], batch_size: int) -> NDArray[np.float16]:
    """Embed pictures, (N, D) of unit length."""
    embeddings = encoder.encode_images(pictures, batch_size).cpu().numpy()
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit: NDArray[np.float16] = (embeddings / np.maximum(norms, 1e-12)).astype(np.float16)
    return unit


def _decode_or_none(file: bytes) -> Image.Image | None:
    try:
        return paint_on_white(decode(file))
    except InputInvalid:
        return None


def _find_picture(content: dict[str, bytes], end: str) -> bytes:
    """Return the picture of an entry, whatever its format; nothing where it is missing."""
    return next((file for name, file in content.items() if name.startswith(f"{end}.")), b"")


def _name_facts(facts: Path, shard: Path, suffix: str = "json") -> Path:
    return facts / f"{shard.stem}.{suffix}"


def _save(facts: Path, shard: Path, kind: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    with replace_path(_name_facts(facts, shard, f"{kind}.npy")) as temporary, temporary.open("wb") as stream:
        np.save(stream, array.reshape(-1, 2, *shape))


def _split_entries(
    entries: Iterator[tuple[str, dict[str, bytes]]], size: int
) -> Iterator[list[tuple[str, dict[str, bytes]]]]:
    while batch := list(islice(entries, size)):
        yield batch
