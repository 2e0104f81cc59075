"""From embeddings to ranked pictures of an index, near-duplicates in one place.

Shapes: S draws, D embedding width.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.images import PictureTable
from compodiff.index.index import GROUP, NO_PICTURE, Floats, Index, Rows
from compodiff.search.drawing import AnswerPictures
from compodiff.search.fusing import BY_PICTURE, FusedRow, WrittenFusion
from compodiff.search.html_page import ShownAnswer, render_result, write_result_page
from compodiff.search.sheet import draw_sheet
from compodiff.storage.ownership import PAGE, require_replaceable_file

_PRINTED = 24  # pictures of a ranking that is printed


@dataclass(frozen=True)
class Hit:
    """One picture of a ranking.

    Attributes:
        rank: from 1.
        picture_id: its id in the index.
        name: for people.
        score: cosine to what was looked for.
        path: the file (or tar) that holds it.
        duplicates: ids of pictures that look the same.
        found_by: why: "picture" where it is one of the nearest, and where the words of the query are written of it:
            "name", "folder", "caption" or a column of the index.
    """

    rank: int
    picture_id: str
    name: str
    score: float
    path: Path
    duplicates: tuple[str, ...] = ()
    found_by: tuple[str, ...] = (BY_PICTURE,)


@dataclass(frozen=True, eq=False, repr=False)
class Ranking(Sequence[Hit]):
    """The answer to a query: a sequence of `Hit`, best first, and the reference of a following query.

    It prints as a table, and a notebook shows it as pictures.

    Attributes:
        hits: the pictures.
        embedding: (D,) what was looked for: the mean of the draws, raw, moved as `more` and `less` of the query say.
        reference: (D,) embedding of the reference, of the masked region blanked; None without one.
        cells: (64, 64) the mask, or None.
        seconds: by phase: "encode", "sample", "search", and "rerank" where one looks again; of the whole batch that the
            query was answered in.
        own: ids of the pictures of the index that the reference, handed in as a picture, is a copy of.
        is_guess: words alone were asked for, the first picture has them nowhere, and none is near what they ask for.
        notes: what you should know besides, a line each; for instance why no picture was found.
        drawn_from: its query and pictures; None where there are none to read.
    """

    hits: tuple[Hit, ...]
    embedding: Floats
    reference: Floats | None
    cells: NDArray[np.bool_] | None
    seconds: Mapping[str, float]
    own: tuple[str, ...] = ()
    is_guess: bool = False
    notes: tuple[str, ...] = ()
    drawn_from: AnswerPictures | None = None

    def __repr__(self) -> str:
        asked = "" if self.drawn_from is None else f' for "{self.drawn_from.query.relative_caption}"'
        head = f"Ranking of {len(self)} pictures{asked}"
        lines = [f"{hit.rank:4}  {hit.score:.3f}  {hit.name}" for hit in self.hits[:_PRINTED]]
        more = [f"      ... {len(self) - _PRINTED} more"] if len(self) > _PRINTED else []
        return "\n".join([head, *lines, *more, *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str | None:
        return None if self.drawn_from is None else render_result(self.drawn_from.read(self.hits))

    def draw(self, columns: int = 5, edge: int = 160) -> Image.Image:
        """Draw the query and the pictures found as one picture, which a notebook shows and `save` writes.

        Args:
            columns: pictures in a row.
            edge: pixels of the longer edge of each.

        Raises:
            InputInvalid: the ranking came without pictures, or one can no longer be read.
        """
        return draw_sheet(self.read_pictures(), columns, edge)

    def show(self) -> None:
        """Open the drawn answer with what this machine shows pictures by.

        Raises:
            InputInvalid: see `draw`.
        """
        self.draw().show()

    def save_page(self, path: str | Path, attribution: str = "") -> None:
        """Write the answer as an HTML page of its own; `attribution` says whose the pictures are.

        Raises:
            InputInvalid: see `draw`; or the file is there, and is no page of ours.
        """
        require_replaceable_file(Path(path), PAGE)
        write_result_page(Path(path), self.read_pictures(), attribution)

    def read_pictures(self) -> ShownAnswer:
        """Read the pictures of the query and of the answer.

        Raises:
            InputInvalid: see `draw`.
        """
        if self.drawn_from is None:
            raise InputInvalid("this ranking came without pictures; ask Searcher.search for one")
        return self.drawn_from.read(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    @overload
    def __getitem__(self, place: int) -> Hit: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Hit, ...]: ...

    def __getitem__(self, place: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[place]


class Ranker:
    """Ranks the pictures of one index by their nearness to embeddings."""

    def __init__(self, index: Index, pictures: PictureTable) -> None:
        self._index, self._pictures = index, pictures
        self._names = index.names
        self._groups: list[str] = index.pictures[GROUP].tolist() if GROUP in index.pictures else []
        self._members = _collect_members(index.picture_ids, self._groups)

    def rank(
        self,
        vectors: Floats,
        k: int,
        exclude: Sequence[str],
        allowed: Rows | None,
        written: WrittenFusion | None = None,
    ) -> tuple[Hit, ...]:
        """Return the `k` pictures nearest to any of `vectors`; near-duplicates share a place.

        Args:
            vectors: (S, D), of one query.
            k: how many pictures.
            exclude: ids that must not be among them, nor what looks the same.
            allowed: rows that may be; None for all.
            written: the pictures of which the words of the query are written; they are fused with the nearest.
        """
        away = [id_ for each in exclude for id_ in self._find_alike(each)] if self._members else exclude
        fusion = written or WrittenFusion({})
        rows = fusion.rows
        matched = self._find_nearest(vectors, len(rows), away, rows) if len(rows) else {}
        asked = max(k, fusion.depth)
        while True:
            nearest = self._find_nearest(vectors, asked, away, allowed)
            hits = self._collapse(fusion.order(nearest | matched, k))
            if len(hits) >= k or asked >= self._index.manifest.count or not self._members:
                return tuple(hits[:k])
            asked *= 4

    def _find_nearest(self, vectors: Floats, k: int, away: Sequence[str], allowed: Rows | None) -> dict[int, float]:
        """Return the rows that are among the `k` nearest to any of `vectors` (S, D), with their best cosines."""
        rows, scores = self._index.search(vectors, k, [away] * len(vectors), allowed)
        best: dict[int, float] = {}
        for row, score in zip(rows.ravel().tolist(), scores.ravel().tolist(), strict=True):
            if row != NO_PICTURE:
                best[row] = max(score, best.get(row, -np.inf))
        return best

    def _collapse(self, ranking: Sequence[FusedRow]) -> list[Hit]:
        """Return the best of every group of near-duplicates, with the others named."""
        hits: list[Hit] = []
        seen: set[str] = set()
        for row, score, found_by in ranking:
            picture_id = self._index.picture_ids[row]
            if picture_id in seen:
                continue
            alike = self._find_alike(picture_id)
            seen.update(alike)
            others = tuple(each for each in alike if each != picture_id)
            path = self._pictures.find_path(picture_id)
            hits.append(Hit(len(hits) + 1, picture_id, self._names[row], score, path, others, found_by))
        return hits

    def _find_alike(self, picture_id: str) -> Sequence[str]:
        """Return a picture and its near-duplicates."""
        row = self._index.row.get(picture_id)
        if row is None or not self._members:
            return (picture_id,)
        return self._members.get(self._groups[row], (picture_id,))


def _collect_members(picture_ids: Sequence[str], groups: Sequence[str]) -> dict[str, list[str]]:
    """Map each group of more than one picture to its pictures."""
    members: dict[str, list[str]] = {}
    for picture_id, group in zip(picture_ids, groups, strict=False):
        members.setdefault(group, []).append(picture_id)
    return {group: pictures for group, pictures in members.items() if len(pictures) > 1}
