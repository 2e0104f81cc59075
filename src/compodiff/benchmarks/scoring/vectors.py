"""Embeddings that come from anywhere: G.npz with `ids` and `embeddings`, Q.npz with `embeddings`.

What `benchmark embed` writes says more: `pair`, the same in both files, and in Q.npz, where queries were left out,
`places`, which of the annotations' queries were answered.
"""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compodiff.benchmarks.datasets.benchmark import Benchmark, require_distinct
from compodiff.benchmarks.scoring.ranking import Floats, Ints, Similarity
from compodiff.errors import InputInvalid
from compodiff.storage.arrays import open_archive

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


@dataclass(frozen=True)
class GivenEmbeddings:
    """What any model makes of a benchmark.

    Attributes:
        pictures: of the gallery.
        queries: row i belongs to query i, or to query places[i], one part after the other.
        places: (Q,) rising; None where every query is answered.
    """

    pictures: Vectors
    queries: Similarity
    places: Ints | None = None

    def choose_answered(self, parts: Sequence[Benchmark], *, skip_missing: bool) -> tuple[list[Benchmark], int]:
        """Return the parts without the queries that have no answer, and how many these are.

        Raises:
            InputInvalid: there are any and `skip_missing` is false, or the answers are of another benchmark.
        """
        if self.places is None:
            return list(parts), 0
        total = sum(len(part.queries) for part in parts)
        if len(self.places) != self.queries.queries or (self.places >= total).any():
            raise InputInvalid(f"the places of {self.queries.queries} answers are not those of {total} queries")
        left_out, answered, start = total - len(self.places), set(self.places.tolist()), 0
        if left_out and not skip_missing:
            raise InputInvalid(f"{left_out} of {total} queries have no answer; leave them out with --skip-missing")
        chosen = []
        for part in parts:
            own = tuple(query for place, query in enumerate(part.queries, start) if place in answered)
            start += len(part.queries)
            chosen += [replace(part, queries=own)] if own else []
        return chosen, left_out

    def fill(self, total: int) -> Similarity:
        """Return answers to `total` queries: to one without an answer zeros, to which all pictures are alike."""
        return self.queries if self.places is None else fill_answers(self.queries, self.places, total)


def fill_answers(queries: Similarity, places: Ints, total: int) -> Similarity:
    """Return answers to `total` queries, of which `places` are answered: to the others zeros."""
    parts = [np.zeros((total, queries.width), part.dtype) for part in queries.parts]
    for filled, part in zip(parts, queries.parts, strict=True):
        filled[places] = part
    return replace(queries, parts=tuple(parts))


def load_embeddings(gallery: Path, queries: Path, canonical: Callable[[str], str]) -> GivenEmbeddings:
    """Read both files; see `load_gallery` and `load_queries`.

    Raises:
        InputInvalid: as these say, or `benchmark embed` wrote one of the files without the other.
    """
    pictures, answers = load_gallery(gallery, canonical), load_queries(queries)
    pairs = [_load(path, (), optional=("pair", "places")) for path in (gallery, queries)]
    first, second = (each.get("pair") for each in pairs)
    if first is not None and second is not None and not np.array_equal(first, second):
        raise InputInvalid(f"{gallery} and {queries} were not written together; run `compodiff benchmark embed` again")
    places = pairs[1].get("places")
    if places is not None and (places.ndim != 1 or places.dtype.kind != "i" or (np.diff(places, prepend=-1) < 1).any()):
        raise InputInvalid(f"{queries}: places is no rising list of numbers; save it again")
    return GivenEmbeddings(pictures, answers, None if places is None else places.astype(np.int64))


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


def _load(path: Path, names: Sequence[str], optional: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """Load arrays of an npz, of `optional` those that are there, without unpickling anything."""
    if not path.is_file():
        raise InputInvalid(f"{path} is not there")
    if not zipfile.is_zipfile(path):
        raise InputInvalid(f"{path} is not an npz file, or cut short; save it with numpy.savez")
    with open_archive(path, "save it again, with ids as strings or integers") as archive:
        absent = [name for name in names if name not in archive]
        if absent:
            held = ", ".join(map(repr, archive)) or "nothing"
            raise InputInvalid(f"{path} has no array {absent[0]!r}; it holds: {held}")
        return {name: archive[name] for name in (*names, *(name for name in optional if name in archive))}


def _check_matrix(array: NDArray[np.generic], path: Path) -> Floats:
    if array.ndim != 2 or 0 in array.shape or not np.issubdtype(array.dtype, np.floating):
        raise InputInvalid(f"{path}: embeddings is {array.dtype} of shape {array.shape}; give floats of shape (N, D)")
    matrix: Floats = array.astype(array.dtype, copy=False)
    return matrix
