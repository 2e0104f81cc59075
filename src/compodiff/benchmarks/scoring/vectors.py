"""Embeddings that come from anywhere: G.npz with `ids` and `embeddings`, Q.npz with `embeddings`."""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compodiff.benchmarks.datasets.benchmark import require_distinct
from compodiff.benchmarks.scoring.ranking import Floats, Similarity
from compodiff.errors import InputInvalid

_CHECKED_AT_ONCE = 8192


@dataclass(frozen=True)
class Vectors:
    """Embeddings (N, D) by picture id; need not be normalised."""

    ids: tuple[str, ...]
    embeddings: Floats

    def __post_init__(self) -> None:
        """Refuse embeddings that cannot be ranked.

        Raises:
            InputInvalid: ids and embeddings differ in number, an id stands twice, or an embedding is not finite.
        """
        if len(self.ids) != len(self.embeddings):
            raise InputInvalid(f"{len(self.ids)} ids for {len(self.embeddings)} embeddings; give one id for each")
        require_distinct(self.ids, "gallery id")
        require_finite(self.embeddings, lambda row: f"picture {self.ids[row]!r}")

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each id."""
        return {name: row for row, name in enumerate(self.ids)}

    def take(self, rows: Mapping[str, int]) -> "Vectors":
        """Return the embeddings of these rows under these ids; without a copy where that is all as it stands."""
        if tuple(rows) == self.ids and list(rows.values()) == list(range(len(self.ids))):
            return self
        return Vectors(tuple(rows), self.embeddings[list(rows.values())])


def load_gallery(path: Path, canonical: Callable[[str], str]) -> Vectors:
    """Read `ids` (N,), which `canonical` makes the benchmark's, and `embeddings` (N, D) of an npz file.

    Raises:
        InputInvalid: not an npz, an array is absent, pickled or of the wrong shape, or `Vectors` refuses the content.
    """
    arrays = _load(path, ("ids", "embeddings"))
    ids = arrays["ids"]
    if ids.ndim != 1:
        raise InputInvalid(f"{path}: ids has shape {ids.shape}; give one id for each embedding, shape (N,)")
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in ids.tolist()]
    try:
        return Vectors(tuple(canonical(name) for name in names), _check_matrix(arrays["embeddings"], path))
    except InputInvalid as error:
        raise InputInvalid(f"{path}: {error}") from error


def load_queries(path: Path) -> Similarity:
    """Read `embeddings` (Q, D) of an npz file, in the order of the annotation file.

    Of (Q, S, D) each query has S embeddings, and a picture scores as its best cosine to any of them.

    Raises:
        InputInvalid: as `load_gallery`; the message names the query by its place in the annotation file, from 0.
    """
    array = _load(path, ("embeddings",))["embeddings"]
    each = array.swapaxes(0, 1) if array.ndim == 3 and array.size else array[None]  # (S, Q, D)
    parts = tuple(_check_matrix(part, path) for part in each)
    for part in parts:
        require_finite(part, lambda row: f"{path}: query {row}")
    return Similarity(parts, np.maximum)


def require_finite(embeddings: Floats, label: Callable[[int], str]) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputInvalid: naming the first row by `label`.
    """
    for start in range(0, len(embeddings), _CHECKED_AT_ONCE):
        finite = np.isfinite(embeddings[start : start + _CHECKED_AT_ONCE]).all(axis=1)
        if not finite.all():
            row = start + int(np.flatnonzero(~finite)[0])
            raise InputInvalid(f"{label(row)} has an embedding with NaN or infinity; embed it again")


def _load(path: Path, names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """Load arrays of an npz without unpickling anything."""
    if not path.is_file():
        raise InputInvalid(f"{path} is not there")
    if not zipfile.is_zipfile(path):
        raise InputInvalid(f"{path} is not an npz file, or cut short; save it with numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as archive:
            absent = [name for name in names if name not in archive]
            if absent:
                raise InputInvalid(f"{path} has no array {absent[0]!r}; it holds: {', '.join(archive) or 'nothing'}")
            return {name: archive[name] for name in names}
    except ValueError as error:
        raise InputInvalid(f"{path} cannot be read without unpickling; save ids as strings or integers") from error
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputInvalid(f"{path} is damaged: {error}; save it again") from error


def _check_matrix(array: NDArray[np.generic], path: Path) -> Floats:
    if array.ndim != 2 or 0 in array.shape or not np.issubdtype(array.dtype, np.floating):
        raise InputInvalid(f"{path}: embeddings is {array.dtype} of shape {array.shape}; give floats of shape (N, D)")
    matrix: Floats = array.astype(array.dtype, copy=False)
    return matrix
