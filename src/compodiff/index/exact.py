"""Exact search of many queries: products in bfloat16 say which rows may be among the best, float32 says which are.

Rounded to q' and x', a query q and a row x have another product, by |q - q'| |x| + |q'| |x - x'| and the error of
summation at most (Cauchy and Schwarz). A row whose rounded product lies further than that below the k-th best score so
far is not among the k best; the others, a few of a block, are scored in float32. Nothing is kept but the best.

Shapes: Q queries, D their width, k results, R rows of a block, P pairs of a query and a row.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from compodiff.index.nearest import NO_PICTURE, Floats, Rows
from compodiff.precision import measure_precisions

_FEWEST_QUERIES, _ROWS_PER_RESULT = 16, 2000  # with fewer, FAISS takes as long (docs/scale.md)
_SHARE_OF_FLOAT32 = 0.5  # of its seconds, that bfloat16 may take: the other work has to be paid, too
_QUERIES_AT_ONCE, _ROWS_AT_ONCE, _FIRST_ROWS = 512, 8192, 512
_GROUP = 64  # rows of which the best is looked at first
_SHARE = 128  # a query for which more than one in so many rows may be near is compared with all of the block
_ROUNDING = 2.0**-8  # largest |x - x'| / |x| of bfloat16
_NORM = 1 + 2.0**-6  # largest |x| / the norm of x', itself rounded
_TINY = 2.0**-100  # more than what is lost where numbers are too small for their precision


def pays(queries: int, rows: int, k: int) -> bool:
    """Return whether this processor finds k of `rows` for so many queries faster here than by FAISS."""
    return queries >= _FEWEST_QUERIES and rows >= _ROWS_PER_RESULT * k and _multiplies_fast()


@cache
def _multiplies_fast() -> bool:
    return measure_precisions("cpu").ratio <= _SHARE_OF_FLOAT32


class NearestSoFar:
    """The k rows with the largest products with each of some queries, of all that were added."""

    def __init__(self, queries: Floats, k: int) -> None:
        """Take queries (Q, D), finite."""
        starts = range(0, len(queries), _QUERIES_AT_ONCE)
        self._parts = [_Part(torch.from_numpy(queries[at : at + _QUERIES_AT_ONCE]), k) for at in starts]
        self._seen = 0

    def add(self, first: int, vectors: Floats) -> None:
        """Add vectors (N, D), finite, of any length, numbered from `first`."""
        start, rows = 0, torch.from_numpy(vectors)
        while start < len(rows):
            # The first blocks are small: before there are k best, every row may be one.
            block = rows[start : start + min(_ROWS_AT_ONCE, max(_FIRST_ROWS, self._seen))]  # (R, D)
            rounded = block.bfloat16()
            if rest := -len(block) % _GROUP:
                rounded = torch.nn.functional.pad(rounded, (0, 0, 0, rest))  # with zeros, which no search finds
            norm = torch.linalg.vector_norm(rounded, dim=1).max().float() * _NORM
            for part in self._parts:
                part.compare(first + start, block, rounded, norm)
            start, self._seen = start + len(block), self._seen + len(block)

    def get(self) -> tuple[Floats, Rows]:
        """Return scores (Q, k) and rows (Q, k), best first; NO_PICTURE where fewer were added."""
        scores, rows = (torch.cat(each) for each in zip(*((part.best, part.rows) for part in self._parts), strict=True))
        return scores.numpy(), rows.numpy()


class _Part:
    """Some queries, compared with a block at once."""

    def __init__(self, queries: Tensor, k: int) -> None:
        self._queries, self._rounded = queries, queries.bfloat16()
        back = self._rounded.float()
        self._norm, self._lost = (torch.linalg.vector_norm(each, dim=1) for each in (back, queries - back))  # (Q,)
        self.best = torch.full((len(queries), k), -torch.inf)
        self.rows = torch.full((len(queries), k), NO_PICTURE)

    def compare(self, first: int, block: Tensor, rounded: Tensor, norm: Tensor) -> None:
        """Look for better rows in block (R, D), no row of which is longer than `norm`; its first is row `first`."""
        least = self.best[:, -1] - self._bound_error(norm)  # (Q,): no row below it is among the best
        is_clear = least > _TINY  # not where there are no k best yet, nor where a number is too large
        limit = least.bfloat16()  # rounding keeps order, and the products are rounded as well
        limit[~is_clear] = torch.inf
        # Of numbers above 0 the bits are in the order of the numbers, and integers are compared many times as fast.
        bits = (self._rounded @ rounded.T).view(torch.int16).view(len(least), -1, _GROUP)  # (Q, R / 64, 64)
        lowest, most = limit.view(torch.int16)[:, None], len(block) // _SHARE
        has_better = bits.amax(2) >= lowest  # (Q, R / 64)
        has_many = ~is_clear | (has_better.sum(1) > most)
        at, group = has_better.logical_and_(~has_many[:, None]).nonzero(as_tuple=True)
        place, inside = (bits[at, group] >= lowest[at]).nonzero(as_tuple=True)
        query, row = at[place], group[place] * _GROUP + inside  # (P,)
        has_many |= query.bincount(minlength=len(least)) > most
        few = ~has_many[query]
        query, row = query[few], row[few]
        pairs = self._queries.index_select(0, query).numpy(), block.index_select(0, row).numpy()
        self._keep_best(query, torch.from_numpy(np.einsum("pd,pd->p", *pairs)), first + row)
        if has_many.any():
            self._compare_all(has_many.nonzero()[:, 0], first, block)

    def _compare_all(self, hard: Tensor, first: int, block: Tensor) -> None:
        """Look for better rows of the queries `hard` (H,) in block (R, D) by float32 alone."""
        scores = self._queries[hard] @ block.T  # (H, R)
        near = scores.topk(min(self.best.shape[1], len(block))).indices.sort().values  # (H, k)
        query = hard.repeat_interleave(near.shape[1])
        self._keep_best(query, scores.gather(1, near).flatten(), first + near.flatten())

    def _bound_error(self, norm: Tensor) -> Tensor:
        """Return how far off the rounded product of each query (Q,) with a row no longer than `norm` may be."""
        summed = (self._queries.shape[1] + 4) * 2.0**-22  # in float32 in any order, twice: rounded, and exact
        relative = self._lost + self._norm * (_ROUNDING + summed)
        bound: Tensor = relative * norm + _TINY * (1 + self._norm) * (1 + norm)
        return bound

    def _keep_best(self, query: Tensor, scores: Tensor, rows: Tensor) -> None:
        """Put pairs (P,), sorted by query and row, among the best."""
        if not len(query):
            return
        k, counts = self.best.shape[1], query.bincount(minlength=len(self.best))
        own, at = counts.nonzero()[:, 0], ((counts > 0).cumsum(0) - 1)[query]
        place = k + torch.arange(len(query)) - (counts.cumsum(0) - counts)[query]  # (P,)
        wide = torch.full((len(own), k + int(counts.max())), -torch.inf)
        named = torch.full(wide.shape, NO_PICTURE)
        wide[:, :k], named[:, :k] = self.best[own], self.rows[own]
        wide[at, place], named[at, place] = scores, rows
        wide, order = wide.sort(dim=1, descending=True, stable=True)
        self.best[own], self.rows[own] = wide[:, :k], named.gather(1, order)[:, :k]
