"""A model and an index: queries in, ranked pictures out. From Python: `from compodiff import Searcher`.

Shell, API, page, MLflow and Python ask in the same way: `Query` -> `PreparedQuery` -> `Ranking`.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from compodiff.encoders.reranking import Reranking
from compodiff.images import PictureTable, read_picture
from compodiff.images.looks import compute_look
from compodiff.index.encoded import encode_pixels
from compodiff.index.filters import Filters
from compodiff.index.index import Index
from compodiff.index.recognition import Recognition
from compodiff.model.fusion import fuse_draws
from compodiff.model.sampling.classes import measure_gallery
from compodiff.search.composer import Composer, Composition
from compodiff.search.drawing import AnswerPictures
from compodiff.search.feedback import find_shift, move
from compodiff.search.fusing import BY_PICTURE, WrittenFusion
from compodiff.search.guesses import GuessLimit
from compodiff.search.located import locate_search
from compodiff.search.naming import find_reference
from compodiff.search.notes import explain_guess, explain_negative, explain_nothing, explain_unseen
from compodiff.search.progress import PhaseTimer
from compodiff.search.query import Blend, PreparedQuery, Query, Reference, ReferencePart, SearchDials, list_parts
from compodiff.search.ranking import Hit, Ranker, Ranking
from compodiff.search.reranking import rerank_hits
from compodiff.search.words import WrittenWords
from compodiff.signing.chain import require_intact

__all__ = ["Blend", "Hit", "Query", "Ranking", "SearchDials", "Searcher"]


One = str | Path | Image.Image | NDArray[np.float32] | Ranking


class Searcher:
    """Answers queries over one index; `search` may be called from many threads."""

    def __init__(
        self,
        composer: Composer,
        index: Index,
        pictures_root: Path | None = None,
        reranking: Reranking | None = None,
        model: str = "a model",
    ) -> None:
        """Join a model and an index made with its encoder; `Searcher.load` opens both.

        The pictures are at `pictures_root`, or where the index says; `reranking` looks at the first of an answer again;
        `model` is how the model is called.

        Raises:
            IndexMismatch: the index was made with another encoder.
        """
        index.require_encoder(composer.encoder.manifest)
        self.composer, self.index, self.reranking = composer, index, reranking
        root = pictures_root or index.folder / index.manifest.pictures_root
        places = index.pictures if index.rows is None else index.rows.list_places(index.row)
        self.pictures = PictureTable(root.resolve(), places)
        self.filters = Filters(index.pictures, [] if index.rows is None else index.rows.files)
        self._model = model
        self._recognition = Recognition(index, self.pictures)
        self._ranker = Ranker(index, self.pictures)
        self._words = WrittenWords(index.pictures)
        self._gallery = measure_gallery(index.sample_vectors(), composer.encoder.manifest.learned_dim)
        self._guesses = GuessLimit(composer, index, self._gallery)
        self._alone = threading.Lock()  # torch gains nothing from two queries at once; FAISS and pictures need none

    @classmethod
    def load(
        cls, model: str | None = None, *, index: str | Path | None = None, reranking: Reranking | None = None
    ) -> "Searcher":
        """Open a model and an index.

        Args:
            model: the address of an alias in the registry of the project that the current folder is in, a folder with
                composed/ and encoder/, the name or hub id of a model that `compodiff get` fetched, or "installed"; None
                for the one that made the index, else the project's champion, else the one of this release.
            index: a folder of pictures after `compodiff index build`, or an index; None for the model's own gallery.
            reranking: what looks at the first pictures of each answer again (`compodiff.encoders.reranking`).

        Raises:
            InputInvalid: there is no such model or index.
            IndexMismatch: the index was made with another encoder, or is damaged.
            CheckpointMismatch: the model is not what its chain says, or not signed where that is asked for.
            ResourceUnavailable: the registry cannot be reached.
        """
        found = locate_search(model, None if index is None else Path(index))
        require_intact(found.parts.folder)
        # The index is opened first: it is the part that a user most often has to make.
        opened, pictures_root = Index.load(found.index), found.find_pictures_root()
        return cls(
            Composer.load(found.parts.composed, found.parts.encoder),
            opened,
            pictures_root,
            reranking,
            found.chosen.name,
        )

    def __repr__(self) -> str:
        return f"Searcher({self.index.manifest.count:,} pictures of {self.pictures.root}, {self._model})"

    @property
    def picture_ids(self) -> Sequence[str]:
        """The ids of the pictures that can be found."""
        return tuple(self.index.row)

    def search(
        self,
        reference: One | Sequence[One] | Blend | None = None,
        text: str = "",
        *,
        negative: str = "",
        mask: str | Path | Image.Image | NDArray[np.bool_] | None = None,
        k: int = 10,
        **dials: Unpack[SearchDials],
    ) -> Ranking:
        """Find pictures like the reference, but changed as the text says.

        Neither the reference nor what looks the same is among them, whether it is an id or a picture handed in.

        Args:
            reference: a picture, its file, an id of the index, an emoji of the default gallery, an embedding, an
                earlier answer, several of these (their mean, or a `Blend`), or None.
            text: the relative caption: what is to be different.
            negative: what the answer should not be like.
            mask: white where the reference is to be replaced, of its shape; or 64 x 64 cells.
            k: how many pictures.
            **dials: see `SearchDials`.

        Raises:
            InputInvalid: the query cannot be answered; the message says why.
        """
        query = Query(
            reference=self.find(reference),
            relative_caption=text,
            negative_text=negative,
            mask=read_picture(Path(mask)) if isinstance(mask, str | Path) else mask,
            k=k,
            **dials,
        )
        return self.answer(query)

    def answer(self, query: Query) -> Ranking:
        """Answer one query.

        Raises:
            InputInvalid: it cannot be answered; see `prepare`.
        """
        prepared = self.prepare(query)
        with self._alone:
            (ranking,) = self.answer_all([prepared], PhaseTimer())
        return ranking

    def find(self, reference: One | Sequence[One] | Blend | None) -> Reference:
        """Return what a query takes as its reference: files read, names looked up, earlier answers as embeddings.

        Raises:
            InputInvalid: a name is neither a picture file nor in the index.
        """
        if reference is None:
            return None
        if isinstance(reference, Blend):
            return Blend(tuple(self._find_one(part) for part in reference.parts), reference.weights)
        if isinstance(reference, Sequence) and not isinstance(reference, str | Ranking):
            parts = tuple(self._find_one(each) for each in reference)
            return Blend(parts, (1.0,) * len(parts))
        return self._find_one(reference)

    def prepare(self, query: Query) -> PreparedQuery:
        """Do all of a query's work that needs no model: check, read pictures, look up ids, ask the condition.

        Raises:
            InputInvalid: the query cannot be answered; see `Composer.prepare` and `Filters.find_rows`.
        """
        query.require()
        reference = query.reference
        looks = tuple(compute_look(part) if isinstance(part, Image.Image) else None for part in list_parts(reference))
        if isinstance(reference, Blend):
            reference = Blend(tuple(self._look_up(part, query) for part in reference.parts), reference.weights)
        elif reference is not None:
            reference = self._look_up(reference, query)
        ids = tuple(part for part in list_parts(query.reference) if isinstance(part, str))
        allowed = self.filters.find_rows(query.where) if query.where else None
        prepared = self.composer.prepare(replace(query, reference=reference))
        exclude = (*query.exclude, *ids, *query.less)
        shift = find_shift(query, self.index)
        return replace(prepared, looks=looks, exclude=exclude, allowed=allowed, shift=shift, original=query)

    def answer_all(self, queries: Sequence[PreparedQuery], watch: PhaseTimer) -> list[Ranking]:
        """Answer queries together, which share the work of the model; none depends on the others."""
        compositions = self.composer.compose_all(queries, watch, self._gallery)
        with watch.time_phase("search"):
            own = [self._recognise(query, each) for query, each in zip(queries, compositions, strict=True)]
            hits = [self._rank(query, each, same) for query, same, each in zip(queries, own, compositions, strict=True)]
        if self.reranking is not None:
            with watch.time_phase("rerank"):
                hits = [self._rerank(query, found) for query, found in zip(queries, hits, strict=True)]
        return [
            Ranking(
                hits=found,
                embedding=move(composition.draws.mean(0).cpu().numpy(), query.shift),
                reference=None if composition.reference is None else composition.reference.cpu().numpy(),
                cells=None if query.asked.mask is None else np.asarray(query.asked.mask),
                seconds=dict(watch.seconds),
                own=same,
                is_guess=self._is_guess(query, found),
                notes=self._note(query, found),
                drawn_from=AnswerPictures.of(query, self.index, self.pictures),
            )
            for query, composition, same, found in zip(queries, compositions, own, hits, strict=True)
        ]

    def imagine(self, query: PreparedQuery) -> list[tuple[Hit, ...]]:
        """Return the picture nearest to where the sampler stands, before each step, and the answer's first picture."""
        steps, answer = self.composer.trace(query, self._gallery)
        own = self._recognise(query, answer)
        away = (*query.exclude, *own)
        frames = [self._ranker.rank(self._fuse(draws, query.shift), 1, away, query.allowed) for draws in steps]
        return [*frames, self._rerank(query, self._rank(query, answer, own))[:1]]

    def _rank(self, query: PreparedQuery, composition: Composition, own: tuple[str, ...]) -> tuple[Hit, ...]:
        """Rank the pictures of the index, less those that are copies of the reference."""
        asked = query.asked
        matches = self._words.find(asked.relative_caption) if asked.goes_by_names else {}
        written = WrittenFusion(matches, asked.w_names, query.allowed)
        vectors = self._fuse(composition.draws, query.shift)
        k = max(asked.k, self.reranking.top) if self.reranking else asked.k
        return self._ranker.rank(vectors, k, (*query.exclude, *own), query.allowed, written)

    def _rerank(self, query: PreparedQuery, hits: tuple[Hit, ...]) -> tuple[Hit, ...]:
        if self.reranking is not None:
            hits = rerank_hits(hits, query, self.pictures, self.reranking)
        return hits[: query.asked.k]

    def _find_one(self, reference: One | ReferencePart) -> ReferencePart:
        if isinstance(reference, Ranking):
            return reference.embedding
        if isinstance(reference, str | Path):
            return find_reference(str(reference), self.index)
        return reference

    def _look_up(self, part: ReferencePart, query: Query) -> ReferencePart:
        """Return the embedding of an id, or its picture where it is masked."""
        if not isinstance(part, str):
            return part
        embedding = self.index.read_embedding(part)
        return embedding if query.mask is None else self.pictures.read(part)

    def _fuse(self, draws: Tensor, shift: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Fuse draws (S, D) in the way that the model was chosen with, and shift the unit vectors by (D,)."""
        return move(fuse_draws(draws, self.composer.sampling.fusion).cpu().numpy(), shift)

    def _recognise(self, prepared: PreparedQuery, composition: Composition) -> tuple[str, ...]:
        """Return the pictures of the index that parts of the reference are copies of."""
        parts = list_parts(prepared.asked.reference)
        found: list[str] = []
        for part, seen in zip(parts, prepared.looks, strict=True):
            if seen is None or not isinstance(part, Tensor):
                continue
            alone = len(parts) == 1 and prepared.asked.mask is None
            known = composition.reference if alone and composition.reference is not None else None
            embedding = encode_pixels(self.composer.encoder, [part])[0] if known is None else known
            found += self._recognition.find(seen, embedding.cpu().numpy())
        return tuple(dict.fromkeys(found))

    def _note(self, prepared: PreparedQuery, hits: Sequence[Hit]) -> tuple[str, ...]:
        pictures = self.index.manifest.count
        findable = pictures if prepared.allowed is None else len(prepared.allowed)
        nothing = None if hits else explain_nothing(prepared.asked, pictures, findable)
        guess = self._is_guess(prepared, hits)
        far = explain_guess(_find_best(hits), self._guesses.least_cosine) if guess else None
        unseen = explain_unseen(prepared.original) if self.reranking else None
        notes = (explain_negative(prepared.asked, prepared.options), nothing, far, unseen)
        return tuple(note for note in notes if note)

    def _is_guess(self, prepared: PreparedQuery, hits: Sequence[Hit]) -> bool:
        """Return whether nothing that was found fits the words of a query without a reference.

        One that was moved towards pictures, or away from them, goes by more than its words.
        """
        goes_by_words = prepared.asked.is_words_alone and prepared.shift is None
        if not hits or not goes_by_words or hits[0].found_by != (BY_PICTURE,):
            return False
        return _find_best(hits) < self._guesses.least_cosine


def _find_best(hits: Sequence[Hit]) -> float:
    return max(hit.score for hit in hits)
