"""A model and an index: queries in, ranked pictures out.

Shapes: S draws, D embedding width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from compodiff.images import Pictures
from compodiff.images.looks import Looks, look
from compodiff.index.encoding import encoded
from compodiff.index.filters import Filters
from compodiff.index.index import GROUP, NO_PICTURE, Floats, Index, Rows
from compodiff.index.recognition import Recognition
from compodiff.model.fusion import fused
from compodiff.search.composer import Composer, Composition
from compodiff.search.notes import note_on_negative, note_on_nothing
from compodiff.search.progress import Watch
from compodiff.search.query import Blend, ComposedQuery, Part, Reference


@dataclass(frozen=True)
class Hit:
    """One picture of a ranking: its id, its name for people, the cosine to what was asked for, and its near-twins."""

    picture_id: str
    name: str
    score: float
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A query checked and looked up: pictures are pixels, ids embeddings, the condition rows.

    `looks` has one entry a part of the reference: how it looks, where it was handed in as a picture.
    """

    query: ComposedQuery
    looks: tuple[Looks | None, ...] = field(default=(), repr=False)
    exclude: tuple[str, ...] = ()
    allowed: Rows | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Answer:
    """A ranking and what it came from.

    Attributes:
        hits: best first.
        embedding: (D,) what was looked for: the mean of the draws, raw; the reference of a following query, say.
        reference: (D,) embedding of the reference, of the masked region blanked; None without one.
        cells: (64, 64) the mask, or None.
        seconds: by phase: "encode", "sample", "search"; of the whole batch that the query was answered in.
        own: ids of the pictures of the index that the reference, handed in as a picture, is a copy of.
        notes: what a person should know besides, a line each.
    """

    hits: list[Hit]
    embedding: Floats
    reference: Floats | None
    cells: NDArray[np.bool_] | None
    seconds: Mapping[str, float]
    own: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Searcher:
    """Answers queries over one index."""

    def __init__(self, composer: Composer, index: Index, pictures_root: Path | None = None) -> None:
        """Join a model and an index.

        Args:
            composer: the model.
            index: made with the model's encoder.
            pictures_root: where the pictures are, if not where the index says.

        Raises:
            IndexMismatch: the index was made with another encoder.
        """
        index.require_encoder(composer.encoder.manifest)
        self.composer, self.index = composer, index
        root = pictures_root or index.folder / index.manifest.pictures_root
        self.pictures = Pictures(root, index.pictures)
        self.filters = Filters(index.pictures)
        self._recognition = Recognition(index, self.pictures)
        self._names: list[str] = index.pictures["name"].tolist()
        self._groups: list[str] = index.pictures[GROUP].tolist() if GROUP in index.pictures else []
        self._members = _members(index.picture_ids, self._groups)

    def search(self, query: ComposedQuery) -> list[Hit]:
        """The `query.k` pictures nearest to what `query` asks for, best first.

        Neither the reference nor what looks the same is among them, whether it is an id or a picture handed in.

        Raises:
            InputInvalid: the query cannot be answered; see `Composer.prepared`.
        """
        return self.search_all([query])[0]

    def search_all(self, queries: Sequence[ComposedQuery]) -> list[list[Hit]]:
        """As `search`, for many queries that share the work of the model."""
        return [answer.hits for answer in self.answer_all([self.prepared(query) for query in queries], Watch())]

    def prepared(self, query: ComposedQuery) -> Prepared:
        """All of a query's work that needs no model: checked, pictures read, ids looked up, the condition asked.

        Raises:
            InputInvalid: the query cannot be answered; see `Composer.prepared` and `Filters.rows`.
        """
        query.require()
        reference = query.reference
        looks = tuple(look(part) if isinstance(part, Image.Image) else None for part in _parts(reference))
        if isinstance(reference, Blend):
            reference = Blend(tuple(self._looked_up(part, query) for part in reference.parts), reference.weights)
        elif reference is not None:
            reference = self._looked_up(reference, query)
        allowed = self.filters.rows(query.where) if query.where else None
        ready = self.composer.prepared(replace(query, reference=reference))
        return Prepared(ready, looks, _excluded(query), allowed)

    def answer_all(self, queries: Sequence[Prepared], watch: Watch) -> list[Answer]:
        """Answer queries together; none depends on the others."""
        compositions = self.composer.compose_all([prepared.query for prepared in queries], watch)
        with watch.phase("search"):
            own = [self._own(prepared, each) for prepared, each in zip(queries, compositions, strict=True)]
            hits = [
                self._ranked(prepared, (*prepared.exclude, *same), composition.draws)
                for prepared, same, composition in zip(queries, own, compositions, strict=True)
            ]
        return [
            Answer(
                hits=found,
                embedding=composition.draws.mean(0).cpu().numpy(),
                reference=None if composition.reference is None else composition.reference.cpu().numpy(),
                cells=None if prepared.query.mask is None else np.asarray(prepared.query.mask),
                seconds=dict(watch.seconds),
                own=same,
                notes=self._notes(prepared, found),
            )
            for prepared, composition, same, found in zip(queries, compositions, own, hits, strict=True)
        ]

    def _own(self, prepared: Prepared, composition: Composition) -> tuple[str, ...]:
        """The pictures of the index that parts of the reference are copies of."""
        parts = _parts(prepared.query.reference)
        found: list[str] = []
        for part, seen in zip(parts, prepared.looks, strict=True):
            if seen is None or not isinstance(part, Tensor):
                continue
            alone = len(parts) == 1 and prepared.query.mask is None
            known = composition.reference if alone and composition.reference is not None else None
            embedding = encoded(self.composer.encoder, [part])[0] if known is None else known
            found += self._recognition.find(seen, embedding.cpu().numpy())
        return tuple(dict.fromkeys(found))

    def _notes(self, prepared: Prepared, hits: Sequence[Hit]) -> tuple[str, ...]:
        query, pictures = prepared.query, self.index.manifest.count
        findable = pictures if prepared.allowed is None else len(prepared.allowed)
        nothing = None if hits else note_on_nothing(query, pictures, findable)
        return tuple(note for note in (note_on_negative(query, self.composer.options(query)), nothing) if note)

    def _looked_up(self, part: Part, query: ComposedQuery) -> Part:
        """An id replaced by its embedding, or by its picture where it is masked."""
        if not isinstance(part, str):
            return part
        embedding = self.index.embedding(part)
        return embedding if query.mask is None else self.pictures.read(part)

    def _ranked(self, prepared: Prepared, exclude: Sequence[str], draws: Tensor) -> list[Hit]:
        """Rank by the fusion of the draws (S, D) that the model was chosen with; near-duplicates share a place."""
        k = prepared.query.k
        vectors = fused(draws, self.composer.sampling.fusion).cpu().numpy()
        away = [id_ for each in exclude for id_ in self._alike(each)] if self._members else exclude
        asked = k
        while True:
            rows, scores = self.index.search(vectors, asked, [away] * len(vectors), prepared.allowed)
            best: dict[int, float] = {}
            for row, score in zip(rows.ravel().tolist(), scores.ravel().tolist(), strict=True):
                if row != NO_PICTURE:
                    best[row] = max(score, best.get(row, -np.inf))
            ranking = self._collapsed(sorted(best.items(), key=lambda found: -found[1]))
            if len(ranking) >= k or asked >= self.index.manifest.count or not self._members:
                return ranking[:k]
            asked *= 4

    def _collapsed(self, ranking: Sequence[tuple[int, float]]) -> list[Hit]:
        """The best of every group of near-duplicates, with the others named."""
        hits: list[Hit] = []
        seen: set[str] = set()
        for row, score in ranking:
            picture_id = self.index.picture_ids[row]
            if picture_id in seen:
                continue
            alike = self._alike(picture_id)
            seen.update(alike)
            others = tuple(each for each in alike if each != picture_id)
            hits.append(Hit(picture_id, self._names[row], score, others))
        return hits

    def _alike(self, picture_id: str) -> Sequence[str]:
        """A picture and its near-duplicates."""
        row = self.index.row.get(picture_id)
        return (
            (picture_id,) if row is None or not self._members else self._members.get(self._groups[row], (picture_id,))
        )


def _members(picture_ids: Sequence[str], groups: Sequence[str]) -> dict[str, list[str]]:
    """Group -> its pictures, of groups with more than one."""
    members: dict[str, list[str]] = {}
    for picture_id, group in zip(picture_ids, groups, strict=False):
        members.setdefault(group, []).append(picture_id)
    return {group: pictures for group, pictures in members.items() if len(pictures) > 1}


def _excluded(query: ComposedQuery) -> tuple[str, ...]:
    """The ids of the index that a query starts from, and those that it names."""
    return (*query.exclude, *(part for part in _parts(query.reference) if isinstance(part, str)))


def _parts(reference: Reference) -> tuple[Part, ...]:
    if reference is None:
        return ()
    return reference.parts if isinstance(reference, Blend) else (reference,)
