"""A second look at the first pictures of an answer, by a reranker that sees query and picture together."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from compodiff.encoders.reranking import Reranking
from compodiff.images import PictureTable
from compodiff.search.query import PreparedQuery, Query, list_parts
from compodiff.search.ranking import Hit


def rerank_hits(hits: Sequence[Hit], query: PreparedQuery, pictures: PictureTable, how: Reranking) -> tuple[Hit, ...]:
    """Return the hits, the first of them in the reranker's order; a hit's score stays what it was found by.

    A reference that is an embedding, as the page sends it, cannot be looked at: the hits then stay as they are.

    Args:
        hits: best first.
        query: what they answer.
        pictures: those of the index.
        how: which reranker, and how many hits it looks at.

    Raises:
        InputInvalid: a picture can no longer be read.
    """
    if not hits or query.original is None or not can_be_shown(query.original):
        return tuple(hits)
    shown = [_show(part, pictures) for part in list_parts(query.original.reference)]
    first = [pictures.read(hit.picture_id) for hit in hits[: how.top]]
    scores = how.reranker.score(shown, query.asked.relative_caption, first)
    order = [*np.argsort(-scores, kind="stable").tolist(), *range(len(first), len(hits))]
    return tuple(replace(hits[place], rank=rank) for rank, place in enumerate(order, start=1))


def can_be_shown(query: Query) -> bool:
    """Return whether all parts of the reference are pictures or ids of some."""
    return all(isinstance(part, str | Image.Image) for part in list_parts(query.reference))


def _show(part: object, pictures: PictureTable) -> Image.Image:
    return part if isinstance(part, Image.Image) else pictures.read(str(part))
