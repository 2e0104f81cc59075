"""Search from Python: `from compodiff import Searcher`.

Shapes: D embedding width.
"""

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.images import read_picture
from compodiff.images.files import is_regular, read_regular
from compodiff.index.index import Index
from compodiff.search.composer import Composer
from compodiff.search.engine import Searcher as QuerySearcher
from compodiff.search.locate import CHAMPION, GALLERY, index_folder, model_parts
from compodiff.search.progress import Watch
from compodiff.search.query import Blend, ComposedQuery, Mode, Part
from compodiff.tracking.store import project_of

__all__ = ["Blend", "Found", "Ranking", "Searcher", "open_searcher"]

_STYLES = ("twemoji", "openmoji")
_NEAREST = 3  # ids that an error names
_COMPARED, _LOOKED_THROUGH = 200, 20_000  # characters of a name, and ids that it is compared with


class Dials(TypedDict, total=False):
    """What a search may say besides; what it does not say is the model's own (`ComposedQuery`)."""

    w_image: float
    w_text: float
    num_inference_steps: int
    draws: int
    reference_mixing: float
    seed: int
    mode: Mode
    subtract: str
    subtract_weight: float
    exclude: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class Found:
    """One picture of a ranking.

    Attributes:
        rank: from 1.
        picture_id: its id in the index.
        name: for people.
        score: cosine to what was looked for.
        path: the file (or tar) that holds it.
        duplicates: ids of pictures that look the same.
    """

    rank: int
    picture_id: str
    name: str
    score: float
    path: Path
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Ranking(Sequence[Found]):
    """The answer to a search: a sequence of `Found`, best first, and the reference of a following search.

    Attributes:
        found: the pictures.
        embedding: (D,) what was looked for.
        seconds: by phase: "encode", "sample", "search".
        notes: what you should know besides, a line each; for instance why no picture was found.
    """

    found: tuple[Found, ...]
    embedding: NDArray[np.float32]
    seconds: Mapping[str, float]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Found]:
        return iter(self.found)

    @overload
    def __getitem__(self, place: int) -> Found: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Found, ...]: ...

    def __getitem__(self, place: int | slice) -> Found | tuple[Found, ...]:
        return self.found[place]


One = str | Path | Image.Image | NDArray[np.float32] | Ranking
Reference = One | Sequence[One] | Blend | None


class Searcher:
    """A model and an index; safe to use from many threads."""

    def __init__(self, searcher: QuerySearcher) -> None:
        """Take a searcher that is open; `Searcher.load` is the way in."""
        self._searcher = searcher
        self._alone = threading.Lock()  # torch gains nothing from two queries at once; FAISS and pictures need none

    @classmethod
    def load(cls, model: str = CHAMPION, *, index: str | Path | None = None) -> "Searcher":
        """Open a model and an index.

        Args:
            model: the address of an alias in the registry of the project that the current folder is in, or a folder
                with composed/ and encoder/.
            index: a folder of pictures after `compodiff index build`, or an index; None for the default gallery.

        Raises:
            InputInvalid: there is no such model or index.
            IndexMismatch: the index was made with another encoder, or is damaged.
            ResourceUnavailable: the registry cannot be reached.
        """
        return cls(open_searcher(model, None if index is None else Path(index)))

    @property
    def picture_ids(self) -> Sequence[str]:
        """The ids of the pictures that can be found."""
        return tuple(self._searcher.index.picture_ids)

    def search(
        self,
        reference: Reference = None,
        text: str = "",
        *,
        negative: str = "",
        mask: str | Path | Image.Image | NDArray[np.bool_] | None = None,
        k: int = 10,
        **dials: Unpack[Dials],
    ) -> Ranking:
        """Find pictures like the reference, but ...

        Args:
            reference: a picture, its file, an id of the index, an emoji of the default gallery, an embedding, an
                earlier answer, several of these (their mean, or a `Blend`), or None.
            text: what is to be different.
            negative: what the answer should not be like.
            mask: white where the reference is to be replaced, of its shape; or 64 x 64 cells.
            k: how many pictures.
            **dials: see `Dials`.

        Raises:
            InputInvalid: the query cannot be answered; the message says why.
        """
        query = ComposedQuery(
            reference=self._understood(reference),
            relative_caption=text,
            negative_text=negative,
            mask=read_picture(Path(mask)) if isinstance(mask, str | Path) else mask,
            k=k,
            **dials,
        )
        prepared = self._searcher.prepared(query)
        with self._alone:
            (answer,) = self._searcher.answer_all([prepared], Watch())
        pictures = self._searcher.pictures
        found = tuple(
            Found(rank, hit.picture_id, hit.name, hit.score, pictures.path(hit.picture_id), hit.duplicates)
            for rank, hit in enumerate(answer.hits, 1)
        )
        return Ranking(found, answer.embedding, answer.seconds, answer.notes)

    def _understood(self, reference: Reference) -> "Part | Blend | None":
        if reference is None or isinstance(reference, Blend):
            return reference
        if isinstance(reference, Sequence) and not isinstance(reference, str | Ranking):
            parts = tuple(self._one(each) for each in reference)
            return Blend(parts, (1.0,) * len(parts))
        return self._one(reference)

    def _one(self, reference: One) -> Part:
        if isinstance(reference, Ranking):
            return reference.embedding
        if isinstance(reference, str | Path):
            return named_reference(str(reference), self._searcher.index)
        return reference


def open_searcher(model: str, index: Path | None) -> QuerySearcher:
    """Open a model and an index; see `Searcher.load`."""
    parts = model_parts(model)
    # The index is opened first: it is the part that a user most often has to make.
    if index is None:
        opened, pictures_root = Index.load(parts.index), project_of(Path.cwd()) / GALLERY
    else:
        opened, pictures_root = Index.load(index_folder(index)), None
    return QuerySearcher(Composer.load(parts.composed, parts.encoder), opened, pictures_root)


def named_reference(reference: str, index: Index) -> str | Image.Image:
    """What is meant by a name: an id of the index, an emoji of the default gallery, or a picture file.

    Raises:
        InputInvalid: none of these.
    """
    path = Path(reference)
    if is_regular(path):
        return _held(path, index) or read_picture(path)
    codepoints = "-".join(f"{ord(character):X}" for character in reference if character != "\N{VARIATION SELECTOR-16}")
    for picture_id in (reference, *(f"{style}-{codepoints}" for style in _STYLES)):
        if picture_id in index.row:
            return picture_id
    raise InputInvalid(
        f"{reference} is neither a picture file nor in the index, {_nearest(reference, index.picture_ids)}"
    )


def _held(path: Path, index: Index) -> str | None:
    """The id of the picture of the index with the bytes of this file, which then need not be encoded."""
    try:
        digest = hashlib.sha256(read_regular(path)[1]).hexdigest()
    except InputInvalid:  # `read_picture` says so
        return None
    same = index.pictures["picture_id"][index.pictures["sha256"] == digest]
    return str(same.iloc[0]) if len(same) else None


def _nearest(reference: str, ids: Sequence[str]) -> str:
    """Say which ids look most like a name."""
    near = get_close_matches(reference[:_COMPARED], ids[:_LOOKED_THROUGH], n=_NEAREST)
    return f"which holds {', '.join(near)}" if near else f"whose ids look like {ids[0]}"
