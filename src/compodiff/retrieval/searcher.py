"""A model and an index: queries in, ranked pictures out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from compodiff.retrieval.composer import ComposedQuery, Composer
from compodiff.retrieval.index import NO_PICTURE, Floats, Index
from compodiff.retrieval.pictures import Pictures


@dataclass(frozen=True)
class Hit:
    """One picture of a ranking: its id, its name for people, and the cosine to what was asked for."""

    picture_id: str
    name: str
    score: float


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
        self._names: list[str] = index.pictures["name"].tolist()

    def search(self, query: ComposedQuery) -> list[Hit]:
        """The `query.k` pictures nearest to what `query` asks for, best first; the reference is not among them.

        Raises:
            InputInvalid: the query cannot be answered; see `Composer.compose_draws`.
        """
        return self.search_all([query])[0]

    def search_all(self, queries: Sequence[ComposedQuery]) -> list[list[Hit]]:
        """As `search`, for many queries that share the work of the model."""
        answers = self.composer.compose_draws([self._looked_up(query) for query in queries])
        return [self._ranked(query, draws) for query, draws in zip(queries, answers, strict=True)]

    def _looked_up(self, query: ComposedQuery) -> ComposedQuery:
        """The query with a reference that is an id replaced by its embedding, or by its picture where it is masked."""
        if not isinstance(query.reference, str):
            return query
        embedding = self.index.embedding(query.reference)
        return replace(query, reference=embedding if query.mask is None else self.pictures.read(query.reference))

    def _ranked(self, query: ComposedQuery, draws: Tensor) -> list[Hit]:
        """Rank by the fusion of the draws (S, D) that the model was chosen with."""
        vectors = _fused(draws.cpu().numpy(), self.composer.sampling.fusion)
        exclude = [[query.reference] if isinstance(query.reference, str) else []] * len(vectors)
        rows, scores = self.index.search(vectors, query.k, exclude)
        best: dict[int, float] = {}
        for row, score in zip(rows.ravel().tolist(), scores.ravel().tolist(), strict=True):
            if row != NO_PICTURE:
                best[row] = max(score, best.get(row, -np.inf))
        ranking = sorted(best.items(), key=lambda found: -found[1])[: query.k]
        return [Hit(self.index.picture_ids[row], self._names[row], score) for row, score in ranking]


def _fused(draws: Floats, fusion: str) -> Floats:
    """Vectors whose best cosine is the fused score: draws (S, D) -> (1, D), or (S, D) for max_score."""
    if fusion == "max_score":
        return draws
    if fusion == "mean_score":  # the mean of cosines is the product with the mean of the unit vectors
        draws = draws / np.linalg.norm(draws, axis=1, keepdims=True)
    mean: Floats = draws.mean(axis=0, keepdims=True)
    return mean
