"""A second look at the first pictures of an answer, by a reranker that sees query and picture together."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from compodiff.encoders.reranking import Reranking
from compodiff.errors import InputInvalid
from compodiff.images import PictureTable
from compodiff.search.query import PreparedQuery, list_parts
from compodiff.search.ranking import Hit


def rerank_hits(hits: Sequence[Hit], query: PreparedQuery, pictures: PictureTable, how: Reranking) -> tuple[Hit, ...]:
    """Return the hits, the first of them in the reranker's order; a hit's score stays what it was found by.

    Args:
        hits: best first.
        query: what they answer.
        pictures: those of the index.
        how: which reranker, and how many hits it looks at.

    Raises:
        InputInvalid: a part of the reference is an embedding, which cannot be looked at.
    """
    if not hits:
        return ()
    shown = [_show(part, pictures) for part in list_parts(None if query.original is None else query.original.reference)]
    first = [pictures.read(hit.picture_id) for hit in hits[: how.top]]
    scores = how.reranker.score(shown, query.asked.relative_caption, first)
    order = [*np.argsort(-scores, kind="stable").tolist(), *range(len(first), len(hits))]
    return tuple(replace(hits[place], rank=rank) for rank, place in enumerate(order, start=1))


def _show(part: object, pictures: PictureTable) -> Image.Image:
    if isinstance(part, str):
        return pictures.read(part)
    if isinstance(part, Image.Image):
        return part
    raise InputInvalid("a reranker looks at pictures; give the reference as a picture or an id, not as an embedding")
