"""Near-duplicates: the same picture saved again, smaller, or in another format.

Pictures are taken in a fixed order. Each joins the first group whose first picture is near by embedding and looks the
same (images/looks.py), or begins a group. So every member looks like the first of its group, no chain joins what
looks unlike, a group is one picture to compare with, and an index that grew has the groups of one made at once.

Shapes: N pictures, D embedding width, L bytes of a look.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compodiff.embeddings.lengths import shorten_rows
from compodiff.images.looks import Looks, look_the_same, may_look_the_same

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

NEW = -1  # the group of a picture that has not been compared with the others
_AT_ONCE, _OTHERS_AT_ONCE = 512, 8192  # what is compared at a time


def group_duplicates(embeddings: Floats, looks: Looks, known: Rows, order: Rows, least_cosine: float) -> Rows:
    """Find which pictures are near-duplicates of each other.

    Args:
        embeddings: (N, D).
        looks: (N, L).
        known: (N,) groups from an earlier call in the same order, as rows of their first pictures, or NEW. A picture
            whose group has lost its first is NEW.
        order: (N,) rows in the order in which pictures are taken.
        least_cosine: of two near-duplicates.

    Returns:
        (N,) groups: the row of the first picture of each one's group.
    """
    grouping = _Grouping(embeddings, looks, known, order, least_cosine)
    for start in range(0, len(order), _AT_ONCE):
        grouping.take(order[start : start + _AT_ONCE])
    return grouping.first


class _Grouping:
    """Groups so far. `leaders` are the first pictures of groups; `fresh` are those that were not when last compared."""

    def __init__(self, embeddings: Floats, looks: Looks, known: Rows, order: Rows, least_cosine: float) -> None:
        self._unit = shorten_rows(embeddings)
        self._looks, self._known, self._least = looks, known, least_cosine
        self._place = np.empty(len(order), np.int64)
        self._place[order] = np.arange(len(order))
        self._leaders: list[int] = []
        self._fresh: list[int] = []
        self.first = known.copy()

    def take(self, rows: Rows) -> None:
        """Put the next rows of the order into groups."""
        unsettled = np.array([self._is_unsettled(row) for row in rows.tolist()], np.bool_)
        found = np.full(len(rows), NEW)  # the first leader that each looks like
        found[unsettled] = self._find_first_alike(rows[unsettled], self._leaders)
        found[~unsettled] = self._find_first_alike(rows[~unsettled], self._fresh)
        near: NDArray[np.bool_] | None = None
        for at, row in enumerate(rows.tolist()):
            if not unsettled[at] and self._is_unsettled(row):  # the first of its group has just joined another
                found[at] = self._find_first_alike(rows[at : at + 1], self._leaders)[0]
            self.first[row] = self._find_first(row, int(found[at]))
            if self.first[row] != row:
                continue
            self._leaders.append(row)
            fresh = self._known[row] != row
            if fresh:
                self._fresh.append(row)
            later = np.flatnonzero((found == NEW) & (unsettled | fresh))
            later = later[later > at]
            if len(later):
                near = self._may_be_alike(rows, rows) if near is None else near
                later = later[near[at, later]]
                pairs = np.stack([np.full(len(later), row), rows[later]], axis=1)
                found[later[look_the_same(self._looks, self._looks, pairs)]] = row

    def _is_unsettled(self, row: int) -> bool:
        """Return whether a row has no group from before: it is NEW, or the first of its group has joined another."""
        return bool(self._known[row] != row and not self._is_in_kept_group(row))

    def _is_in_kept_group(self, row: int) -> bool:
        """Return whether a row is in the group of another row that still is the first of its group."""
        first = self._known[row]
        return bool(first not in (NEW, row) and self.first[first] == first)

    def _find_first(self, row: int, found: int) -> int:
        if not self._is_in_kept_group(row):
            return row if found == NEW else found
        old = int(self._known[row])
        return old if found == NEW or self._place[old] < self._place[found] else found

    def _find_first_alike(self, rows: Rows, leaders: Sequence[int]) -> Rows:
        """Return for each row the first of the leaders that is its near-duplicate, or NEW."""
        found = np.full(len(rows), NEW)
        for start in range(0, len(leaders), _OTHERS_AT_ONCE):
            some, open_ = np.array(leaders[start : start + _OTHERS_AT_ONCE]), np.flatnonzero(found == NEW)
            pairs = np.argwhere(self._may_be_alike(rows[open_], some))
            of_rows = np.stack([rows[open_][pairs[:, 0]], some[pairs[:, 1]]], axis=1)
            pairs = pairs[look_the_same(self._looks, self._looks, of_rows)]
            of, first = np.unique(pairs[:, 0], return_index=True)  # pairs stand row by row, leaders ascending
            found[open_[of]] = some[pairs[first, 1]]
        return found

    def _may_be_alike(self, ones: Rows, others: Rows) -> NDArray[np.bool_]:
        """Return which rows are near by embedding and alike at a quick look, (len(ones), len(others))."""
        near: NDArray[np.bool_] = self._unit[ones] @ self._unit[others].T >= self._least
        down, across = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        near[np.ix_(down, across)] &= may_look_the_same(self._looks[ones[down]], self._looks[others[across]])
        return near
