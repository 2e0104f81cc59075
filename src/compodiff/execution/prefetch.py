"""Prepare what comes next while the present one is worked on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")


def map_ahead(prepare: Callable[[Item], Prepared], items: Iterable[Item], *, threads: int = 1) -> Iterator[Prepared]:
    """Yield prepare(item) of each item, in order; the next ones are made, one a thread, while the caller uses this one.

    Reading, decoding and resizing pictures leave Python's lock, and so do the towers: both then use a core each. An
    error of `prepare` is raised where its result is asked for.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Prepared]] = deque()
        for item in items:
            waiting.append(pool.submit(prepare, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
