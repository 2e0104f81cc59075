"""The folder artifacts/embeddings/NAME: what an encoder makes of a set, as arrays that are memory-mapped.

images.npy (N, D) f16           pictures and, after them shard by shard, their masked variants
masks.npy (M, 512) u8           64 x 64 bits of each masked variant
digests.npy (N, 16) u8          of each picture's pixels             states.npy (N,) u8   whether it could be read
texts_pooled.npy (T, D) f16     row 0 is the empty text, the null text
text_keys.npy (T,) u64
text_tokens.npy (sum L, D_text) f16, the texts' tokens end to end; text_offsets.npy (T + 1,) i64. Or, where tokens are
computed when they are asked for: text_bytes.npy u8, the texts in UTF-8 end to end; text_starts.npy (T + 1,) i64
keys.npy (R,) u64, splits.npy (R,) u8, scored.npy (R, 5) i64          of each row of the set
text_to_image.npy, masked.npy, triplet.npy (n, 5) i64                 examples: ROW, TEXT, IMAGE, MASK, TARGET
negatives.npy (n, 2) i64        row, image                            manifest.json   encoder, params, shards
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compodiff.embeddings.scattered import expect_scattered, read_scattered
from compodiff.embeddings.text_tower import TextTower
from compodiff.encoders.manifest import EncoderManifest, require_same
from compodiff.errors import InputInvalid
from compodiff.images.mask_cells import MASK_SIZE

Arrays = dict[str, NDArray[Any]]
NOTHING = -1
ROW, TEXT, IMAGE, MASK, TARGET = range(5)  # columns of the examples
REFERENCE, SCORED_TARGET, REFERENCE_CAPTION, TARGET_CAPTION, ASKED = range(5)  # columns of `scored`
READ, MISSING, UNDECODABLE = range(3)  # states of pictures
NULL_TEXT = 0
STORED, ONLINE = "stored", "online"  # what of texts is kept: their token states, or themselves

# Array of a part -> by which counts each of its columns is moved where parts are joined ("" for none).
_MOVED: dict[str, tuple[str, ...]] = {
    "images": (),
    "masks": (),
    "digests": (),
    "states": (),
    "texts_pooled": (),
    "text_tokens": (),
    "text_bytes": (),
    "lengths": (),
    "text_keys": (),
    "keys": (),
    "splits": (),
    "scored": ("images", "images", "texts", "texts", "texts"),
    "text_to_image": ("rows", "texts", "images", "masks", "images"),
    "masked": ("rows", "texts", "images", "masks", "images"),
    "triplet": ("rows", "texts", "images", "masks", "images"),
    "negatives": ("rows", "images"),
}
_COUNTED = {"images": "images", "masks": "masks", "texts": "lengths", "rows": "keys"}
_TEXT_ARRAYS = {STORED: ("text_tokens", "text_offsets"), ONLINE: ("text_bytes", "text_starts")}
_PICTURE_ARRAYS = ("images", "masks", "digests", "states")
_REMAKE = "run: dvc repro --single-item --force embed@NAME"


@dataclass(frozen=True)
class SetEmbeddings:
    """Embeddings of a set, raw (not normalised), with the examples that its rows give.

    Attributes:
        folder: of the arrays.
        encoder: what made them.
        manifest: all that manifest.json says.
        tower: computes token states where none are stored.
    """

    folder: Path
    encoder: EncoderManifest
    manifest: Mapping[str, Any]
    tower: TextTower | None = None

    @classmethod
    def load(
        cls, folder: Path, *, encoder: EncoderManifest | None = None, tower: TextTower | None = None
    ) -> "SetEmbeddings":
        """Open the folder; arrays are mapped where they are asked for.

        Raises:
            InputInvalid: it holds no embeddings, or its manifest is damaged.
            EncoderMismatch: they are another encoder's.
        """
        path = folder / "manifest.json"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            own = EncoderManifest.from_json(manifest["encoder"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputInvalid(f"{folder} holds no embeddings of a set ({error}); {_REMAKE}") from error
        if encoder is not None:
            require_same(encoder, own, f"the embeddings {folder}")
        opened = cls(folder, own, manifest, tower)
        if tower is not None and opened.kept == ONLINE:
            tower.require(own, f"the embeddings {folder}")
        return opened

    @property
    def kept(self) -> str:
        """STORED or ONLINE: what of texts is kept."""
        return str(self.manifest.get("texts", STORED))

    def open_array(self, name: str) -> NDArray[Any]:
        """Map an array.

        Raises:
            InputInvalid: its file is missing, truncated or damaged.
        """
        path = self.folder / f"{name}.npy"
        try:
            mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise InputInvalid(f"{path} is not there; {_REMAKE}") from error
        except (ValueError, EOFError, OSError) as error:
            raise InputInvalid(f"{path} is truncated or damaged ({error}); {_REMAKE}") from error
        return mapped

    @cached_property
    def images(self) -> NDArray[np.float16]:
        """(N, D) pictures and masked pictures."""
        return self.open_array("images")

    @cached_property
    def _scattered_images(self) -> NDArray[np.float16]:
        mapped: NDArray[np.float16] = self.open_array("images")
        expect_scattered(mapped)
        return mapped

    @cached_property
    def texts_pooled(self) -> NDArray[np.float16]:
        """(T, D) pooled texts."""
        return self.open_array("texts_pooled")

    @cached_property
    def _texts(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        array, starts = _TEXT_ARRAYS[self.kept]
        return self.open_array(array), self.open_array(starts)

    @cached_property
    def _packed_masks(self) -> NDArray[np.uint8]:
        return self.open_array("masks")

    def list_row_groups(self, least: int) -> list[slice]:
        """Return the rows of neighbouring shards, at least `least` together but for the last ones, as slices."""
        counts = [part["lengths"]["keys"] for part in self.manifest.get("parts", ())]
        ends = np.cumsum(counts).tolist() or [len(self.open_array("splits"))]
        groups, start = list[slice](), 0
        for end in ends:
            if end - start >= least or end == ends[-1] > start:
                groups.append(slice(start, end))
                start = end
        return groups

    def read_tokens(self, rows: ArrayLike) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """Return the tokens of texts end to end, (sum L, D_text), and their lengths, (B,). rows: (B,).

        Raises:
            InputInvalid: they have to be computed, and no text tower was handed in.
            EncoderMismatch: the tower's weights are not those of its manifest.
        """
        states, offsets = self._texts
        chosen = np.asarray(rows, dtype=np.int64)
        if self.kept == ONLINE:
            if self.tower is None:
                raise InputInvalid(f"{self.folder} holds texts without token states; name the encoder's folder as well")
            texts = [bytes(states[offsets[row] : offsets[row + 1]]).decode() for row in chosen]
            return self.tower.compute_tokens(texts, self.manifest["params"]["batch_size"])
        starts = offsets[chosen]
        lengths = offsets[chosen + 1] - starts
        begins = np.cumsum(lengths) - lengths
        places = np.repeat(starts - begins, lengths) + np.arange(lengths.sum())
        return states[places], lengths

    def read_images(self, rows: ArrayLike) -> NDArray[np.float32]:
        """Return pictures from all over the set, (B, D). rows: (B,)."""
        return read_scattered(self._scattered_images, np.asarray(rows, dtype=np.int64))

    def read_masks(self, rows: ArrayLike) -> NDArray[np.bool_]:
        """Return masks, (B, 64, 64), True where the picture was set to zero. rows: (B,)."""
        packed = self._packed_masks[np.asarray(rows, dtype=np.int64)]
        return np.unpackbits(packed, axis=1).astype(bool).reshape(-1, MASK_SIZE, MASK_SIZE)


def join_parts(folder: Path, parts: Sequence["Part"], kept: str) -> None:
    """Write the arrays of parts, one after the other, as the arrays of a set; one part's array is in memory at a time.

    Args:
        folder: gets the .npy files.
        parts: the null text's first.
        kept: STORED or ONLINE: what of texts is in them.
    """
    counts = [part.count_kinds() for part in parts]
    starts = {name: np.cumsum([0, *(each[name] for each in counts)]) for name in _COUNTED}
    for name in list_arrays(kept):
        moved, joined, begin = _MOVED[name], None, 0
        for number, part in enumerate(parts):
            array = np.array(part.open_array(name))
            for column, by in enumerate(moved):
                array[:, column] += np.where(array[:, column] == NOTHING, 0, starts[by][number])
            if joined is None:
                rows = sum(part.count_rows(name) for part in parts)
                shape = (rows, *array.shape[1:])
                joined = create_array(folder / f"{name}.npy", array.dtype, shape)
            joined[begin : begin + len(array)] = array
            begin += len(array)
    lengths = np.load(folder / "lengths.npy", mmap_mode="r", allow_pickle=False)
    offsets = create_array(folder / f"{_TEXT_ARRAYS[kept][1]}.npy", np.dtype(np.int64), (len(lengths) + 1,))
    np.cumsum(lengths, out=offsets[1:])  # the first is 0, as a new file is


def list_arrays(kept: str) -> list[str]:
    """Return the names of a part's arrays. kept: STORED or ONLINE: what of texts."""
    others = {array for other, (array, _) in _TEXT_ARRAYS.items() if other != kept}
    return [name for name in _MOVED if name not in others]


class Part:
    """The arrays of one shard: in the file that a pass wrote."""

    def __init__(self, path: Path) -> None:
        """`path`: an .npz file."""
        self._path = path

    def open_array(self, name: str) -> NDArray[Any]:
        """Read an array."""
        with np.load(self._path, allow_pickle=False) as arrays:
            loaded: NDArray[Any] = arrays[name]
        return loaded

    def count_rows(self, name: str) -> int:
        """Return the number of rows of an array."""
        with np.load(self._path, allow_pickle=False) as arrays, arrays.zip.open(f"{name}.npy") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, _ = read(file)
        return int(shape[0])

    def count_kinds(self) -> dict[str, int]:
        """Return how many images, masks, texts and rows there are."""
        return {name: self.count_rows(array) for name, array in _COUNTED.items()}

    def count_all_rows(self, kept: str) -> dict[str, int]:
        """Return the number of rows of every array. kept: STORED or ONLINE: what of texts."""
        return {name: self.count_rows(name) for name in list_arrays(kept)}


class EarlierPart(Part):
    """The arrays of one shard, out of the joined arrays of an earlier run."""

    def __init__(self, embeddings: SetEmbeddings, starts: dict[str, int], lengths: dict[str, int]) -> None:
        """`starts`: where each array of the shard begins in the joined one; `lengths`: of these arrays."""
        self._embeddings, self._starts, self._lengths = embeddings, starts, lengths

    @classmethod
    def list_all(cls, embeddings: SetEmbeddings) -> dict[str, "EarlierPart"]:
        """Return the parts that were joined, by the digests of their shards."""
        parts, ends = dict[str, EarlierPart](), Counter[str]()
        for part in embeddings.manifest["parts"]:
            parts[part["sha256"]] = cls(embeddings, ends.copy(), part["lengths"])
            ends.update(part["lengths"])
        return parts

    def read_pictures(self) -> Arrays:
        """Read the arrays that are of pictures alone."""
        return {name: self.open_array(name) for name in _PICTURE_ARRAYS}

    def open_array(self, name: str) -> NDArray[Any]:
        """Cut an array out of the joined one, and move its numbers back."""
        start = self._starts[name]
        array = np.array(self._embeddings.open_array(name)[start : start + self._lengths[name]])
        for column, by in enumerate(_MOVED[name]):
            own = array[:, column]
            array[:, column] = np.where(own == NOTHING, own, own - self._starts[_COUNTED[by]])
        return array

    def count_rows(self, name: str) -> int:
        """Return the number of rows of an array."""
        return self._lengths[name]


def iterate_chunks(count: int, size: int) -> Iterator[slice]:
    """Yield slices that cover `count` rows."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def create_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Create an array on disk; an empty one cannot be mapped and is written as it is."""
    if 0 in shape:
        empty = np.empty(shape, dtype)
        np.save(path, empty)
        return empty
    created: NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    return created
