"""As much at a time as a GPU's memory holds: half as much wherever it ends, and no more from then on."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, TypeVar

import torch

from compodiff.errors import ResourceUnavailable

Result = TypeVar("Result")
Items = TypeVar("Items", bound="_Sliced")
log = logging.getLogger(__name__)


class _Sliced(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self: Items, part: slice, /) -> Items: ...


class MemoryBound:
    """Remembers how many of some things fit at a time."""

    def __init__(self, what: str, remedy: str) -> None:
        """Name the things, for what is said of them, and the way out where not even one fits."""
        self._what = what
        self._remedy = remedy
        self._most: int | None = None

    def call(self, function: Callable[[int], Result], wanted: int) -> Result:
        """Return function(size), of a size of at most `wanted` that fits; a smaller one is logged once.

        Raises:
            ResourceUnavailable: not even 1 fits.
        """
        size = most = min(wanted, self._most or wanted)
        while True:
            try:
                result = function(size)
                break
            except torch.OutOfMemoryError as error:
                if size <= 1:
                    raise ResourceUnavailable(
                        f"the GPU's memory does not hold even one of the {self._what}; {self._remedy}"
                    ) from error
            # Not within `except`, where the error's traceback still holds the tensors.
            torch.cuda.empty_cache()
            size = self._most = size // 2
        if size < most:
            log.warning("the GPU's memory ends at %d %s: %d at a time from now on", most, self._what, size)
        return result

    def run_by_parts(self, function: Callable[[Items], Result], items: Items) -> Iterator[Result]:
        """Yield function(part) of one part of `items` after the other, each as large as fits; of no items, once."""
        start = 0
        while start < len(items) or not start:
            rest = items[start:]
            size, result = self.call(partial(_run_first, function, rest), len(rest))
            yield result
            start += max(size, 1)


def _run_first(function: Callable[[Items], Result], items: Items, size: int) -> tuple[int, Result]:
    return size, function(items[:size])
