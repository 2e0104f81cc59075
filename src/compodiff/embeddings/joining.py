"""Shards' arrays joined into those of a set, and cut out of them again where a shard stays as it was."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compodiff.embeddings.set_arrays import NOTHING, ONLINE, TEXT_ARRAYS, Arrays, SetEmbeddings, create_array
from compodiff.embeddings.token_arrays import name_array
from compodiff.storage.arrays import open_archive, open_array, read_archived_header

# Array of a shard -> by which counts each of its columns is moved where parts are joined ("" for none).
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
_PICTURE_ARRAYS = ("images", "masks", "digests", "states")


def join_parts(folder: Path, parts: Sequence["Part"], kept: str, text_parts: int) -> None:
    """Write the arrays of parts, one after the other, as the arrays of a set; one part's array is in memory at a time.

    Args:
        folder: gets the .npy files.
        parts: the null text's first.
        kept: STORED or ONLINE: what of texts is in them.
        text_parts: of the encoder.
    """
    counts = [part.count_kinds() for part in parts]
    starts = {name: np.cumsum([0, *(each[name] for each in counts)]) for name in _COUNTED}
    for name in list_arrays(kept, text_parts):
        moved, joined, begin = _MOVED.get(name, ()), None, 0
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
    for number in range(_count_token_arrays(kept, text_parts)):
        lengths = open_array(folder / f"{name_array('lengths', number)}.npy")
        path = folder / f"{name_array(TEXT_ARRAYS[kept][1], number)}.npy"
        offsets = create_array(path, np.dtype(np.int64), (len(lengths) + 1,))
        np.cumsum(lengths, out=offsets[1:])  # the first is 0, as a new file is


def list_arrays(kept: str, text_parts: int) -> list[str]:
    """Return the names of a shard's arrays.

    Args:
        kept: STORED or ONLINE: what of texts.
        text_parts: of the encoder; the arrays of those after the first follow at the end.
    """
    others = {array for other, (array, _) in TEXT_ARRAYS.items() if other != kept}
    further = range(1, _count_token_arrays(kept, text_parts))
    return [
        *(name for name in _MOVED if name not in others),
        *(name_array(name, number) for number in further for name in (TEXT_ARRAYS[kept][0], "lengths")),
    ]


def _count_token_arrays(kept: str, text_parts: int) -> int:
    """Return how many arrays hold what is kept of texts: the texts themselves, or token states of each text part."""
    return 1 if kept == ONLINE else text_parts


class Part:
    """The arrays of one shard: in the file that a pass wrote."""

    def __init__(self, path: Path) -> None:
        """`path`: an .npz file."""
        self._path = path

    def open_array(self, name: str) -> NDArray[Any]:
        """Read an array."""
        with open_archive(self._path) as arrays:
            loaded: NDArray[Any] = arrays[name]
        return loaded

    def count_rows(self, name: str) -> int:
        """Return the number of rows of an array."""
        shape, _, _ = read_archived_header(self._path, name)
        return int(shape[0])

    def count_kinds(self) -> dict[str, int]:
        """Return how many images, masks, texts and rows there are."""
        return {name: self.count_rows(array) for name, array in _COUNTED.items()}

    def count_all_rows(self, kept: str, text_parts: int) -> dict[str, int]:
        """Return the number of rows of every array; see `list_arrays`."""
        return {name: self.count_rows(name) for name in list_arrays(kept, text_parts)}


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
        for column, by in enumerate(_MOVED.get(name, ())):
            own = array[:, column]
            array[:, column] = np.where(own == NOTHING, own, own - self._starts[_COUNTED[by]])
        return array

    def count_rows(self, name: str) -> int:
        """Return the number of rows of an array."""
        return self._lengths[name]
