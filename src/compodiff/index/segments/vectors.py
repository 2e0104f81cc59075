"""Vectors of an index at size by row number: arrays of float16 one after the other, memory-mapped as they are needed.

Shapes: N rows, D embedding width.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compodiff.index.manifest import open_array

Floats = NDArray[np.float32]
_AT_ONCE = 65_536  # rows


class StoredVectors:
    """Reads like an array (N, D), and gives float32."""

    def __init__(self, files: Sequence[Path], counts: Sequence[int], width: int) -> None:
        """Take files and how many rows each has; none is opened before it is asked for."""
        self._files, self._starts = list(files), np.array([0, *accumulate(counts)])
        self._mapped: dict[int, NDArray[np.float16]] = {}
        self.shape = (int(self._starts[-1]), width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Floats:
        """Return rows by number or slice, and of them the columns that a second key names; -1 gives row 0."""
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        asked = np.maximum(np.asarray(rows, np.int64), 0)
        found = np.empty((asked.size, self.shape[1]), np.float32)
        flat = asked.ravel()
        files = np.searchsorted(self._starts, flat, side="right") - 1
        for file in np.unique(files).tolist():
            own = np.flatnonzero(files == file)
            found[own] = self._map(file)[flat[own] - self._starts[file]]
        picked: Floats = found.reshape(*asked.shape, self.shape[1])[..., columns]
        return picked

    def iterate(self, first: int = 0) -> Iterator[tuple[int, NDArray[np.float16]]]:
        """Yield all rows from `first` on in chunks, each with the number of its first."""
        for file, (start, end) in enumerate(zip(self._starts[:-1].tolist(), self._starts[1:].tolist(), strict=True)):
            for at in range(max(0, first - start), end - start, _AT_ONCE):
                yield start + at, self._map(file)[at : at + _AT_ONCE]

    def _map(self, file: int) -> NDArray[np.float16]:
        if file not in self._mapped:
            self._mapped[file] = open_array(self._files[file], mapped=True)
        return self._mapped[file]
