"""A second look at the first pictures of each ranking, by a reranker.

Q queries, K pictures of each that are looked at again.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from compodiff.benchmarks.scoring.ranking import Reals, Similarity, find_top_rows
from compodiff.benchmarks.scoring.scorer import Scored, find_excluded, restrict, score_lists
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.encoders.reranking import Reranking
from compodiff.errors import InputInvalid


def rerank(scored: Scored, pictures: Vectors, similarity: Similarity, how: Reranking, chunk: int) -> list[list[str]]:
    """Return the ranked pictures of each scored query, the first K of them in the reranker's order.

    Args:
        scored: the part that was scored by `similarity`.
        pictures: embeddings by picture id.
        similarity: row i belongs to query i of the benchmark.
        how: with which reranker, and K.
        chunk: gallery rows scored at once; changes memory and speed only.

    Raises:
        InputInvalid: the benchmark ranks no gallery, or a picture is not there.
    """
    part = scored.benchmark
    if not part.protocol.recall_ks:
        raise InputInvalid(f"{part.label} ranks candidates and no gallery; leave out --rerank")
    gallery, _ = restrict(part, pictures, skip_missing=True)
    excluded = find_excluded(part, scored.kept, gallery)
    wanted = max(how.top, *part.protocol.recall_ks, *part.protocol.map_ks)
    count = min(wanted, len(gallery.ids) - excluded.shape[1])
    best = find_top_rows(similarity.take(scored.places), gallery.embeddings, count, excluded=excluded, chunk=chunk)
    lists = []
    for query, rows in zip(tqdm(scored.kept, how.name, unit=" queries", disable=None), best, strict=True):
        names = [gallery.ids[row] for row in rows]
        first = names[: how.top]
        shown = [part.pictures.read(name) for name in query.references]
        scores = how.reranker.score(shown, " and ".join(query.texts), [part.pictures.read(name) for name in first])
        lists.append([first[place] for place in np.argsort(-scores, kind="stable")] + names[how.top :])
    return lists


def score_reranked(scored: Scored, lists: list[list[str]]) -> Mapping[str, Reals]:
    """Return the outcomes of reranked lists: those recalls and precisions that a list decides."""
    return score_lists(replace(scored.benchmark, queries=scored.kept), lists)
