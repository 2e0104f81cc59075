"""Embeddings of live queries, as many as fit: every query of a model has the same chance to be among them.

No text, picture, id or client is kept. From an embedding of a picture something of it can be guessed, so that the file
is its owner's alone. D dimensions, N queries.
"""

import shlex
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compodiff.errors import InputInvalid
from compodiff.storage.arrays import open_archive
from compodiff.storage.atomic import replace_path

_REMEDY = "name another file; if serve wrote this one, remove it, and it is written anew"
SIZE = 2000  # queries: 5 MB with 640 dimensions

Floats = NDArray[np.float32]
_Kept = tuple[Floats, Floats | None, int, int]


@dataclass(frozen=True)
class KeptQueries:
    """What a file of kept queries holds.

    Attributes:
        version: of the model that answered.
        seen: queries among which these were drawn.
        answers: (N, D) embeddings of what was meant.
        references: (N, D) embeddings of the references; NaN where a query had none.
        liked: (N,) pictures that the query called more like the one that is meant.
        disliked: (N,) pictures that it called less like it.
    """

    version: str
    seen: int
    answers: Floats
    references: Floats
    liked: NDArray[np.int64]
    disliked: NDArray[np.int64]


class QueryReservoir:
    """Draws queries as they come (algorithm R, Vitter 1985) and writes them down now and then."""

    def __init__(self, path: Path, *, size: int = SIZE, seed: int | None = None) -> None:
        """Keep up to `size` queries in the file `path`; what it holds of the same model is gone on with.

        Raises:
            InputInvalid: it is a folder, or a file of something else, or damaged.
        """
        if path.is_dir():
            raise InputInvalid(f"{path} is a folder; name a file for the queries that are kept")
        self._path, self._size = path, size
        self._random = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._kept: list[_Kept] = []
        self._version, self._seen, self._changed = "", 0, False
        if path.is_file():
            self._take_up(read_kept_queries(path))

    def note(self, version: str, answer: Floats, reference: Floats | None, liked: int, disliked: int) -> None:
        """Consider one query; another version of the model begins anew.

        Args:
            version: of the model that answered.
            answer: (D,) the embedding of what was meant.
            reference: (D,) of the reference, where there was one.
            liked: pictures that were called more like it.
            disliked: pictures that were called less like it.
        """
        entry = (answer, reference, liked, disliked)
        with self._lock:
            if version != self._version:
                self._version, self._seen, self._kept = version, 0, []
            self._seen += 1
            if len(self._kept) < self._size:
                self._kept.append(entry)
            elif (place := int(self._random.integers(self._seen))) < self._size:
                self._kept[place] = entry
            self._changed = True

    def save(self) -> None:
        """Write the file where anything changed.

        Raises:
            ResourceUnavailable: the disk is full, or the folder cannot be written.
            InputInvalid: the path is a folder, or below a file.
        """
        with self._lock:
            if not self._changed:
                return
            kept, version, seen, self._changed = [*self._kept], self._version, self._seen, False
        try:
            self._write(kept, version, seen)
        except Exception:
            self._changed = True  # it is tried again
            raise

    def _write(self, kept: list[_Kept], version: str, seen: int) -> None:
        nothing = np.full(len(kept[0][0]), np.nan, np.float32)
        with replace_path(self._path) as temporary:
            temporary.touch(0o600)
            with temporary.open("wb") as file:
                np.savez(
                    file,
                    version=np.array(version),
                    seen=np.array(seen),
                    at=np.array(int(time.time())),
                    answers=np.stack([answer for answer, *_ in kept]).astype(np.float32),
                    references=np.stack([nothing if each is None else each for _, each, *_ in kept]).astype(np.float32),
                    liked=np.array([liked for *_, liked, _ in kept], np.int64),
                    disliked=np.array([disliked for *_, disliked in kept], np.int64),
                )

    def _take_up(self, known: KeptQueries) -> None:
        self._version, self._seen = known.version, known.seen
        rows = zip(known.answers, known.references, known.liked.tolist(), known.disliked.tolist(), strict=True)
        self._kept = [
            (answer, None if np.isnan(reference[0]) else reference, liked, disliked)
            for answer, reference, liked, disliked in rows
        ][: self._size]


def read_kept_queries(path: Path) -> KeptQueries:
    """Read what `QueryReservoir.save` wrote.

    Raises:
        InputInvalid: it is missing or damaged.
    """
    if not path.exists():
        raise InputInvalid(f"{path} is not there; `compodiff serve --keep-queries {shlex.quote(str(path))}` writes it")
    with open_archive(path, _REMEDY) as file:
        held = KeptQueries(
            str(file["version"]),
            int(file["seen"]),
            *(file[name] for name in ("answers", "references", "liked", "disliked")),
        )
    if not (held.answers.ndim == 2 and held.answers.shape == held.references.shape and len(held.answers)):
        raise InputInvalid(f"{path} holds no kept queries; {_REMEDY}")
    return held
