"""Map a function over shards in processes of this machine; nothing else knows where a shard is made.

The function must be picklable. What it should keep between items (a loaded encoder) it holds itself, for instance in a
`functools.cached_property`: each worker has one copy of the function for all its items.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, TypeVar

from compodiff.errors import InputInvalid, ResourceUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = "COMPODIFF_WORKERS"


def worker_count() -> int:
    """How many processes to use: the environment variable COMPODIFF_WORKERS, or the cores this process may use.

    Raises:
        InputInvalid: the variable is not a positive number.
    """
    text = os.environ.get(WORKERS, str(len(os.sched_getaffinity(0))))
    if not text.isdecimal() or int(text) < 1:
        raise InputInvalid(f"{WORKERS} is {text!r}; set it to a number of processes, 1 or more")
    return int(text)


def map_shards(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, function(item)) as each item is done, in any order.

    With one worker, or one item, everything happens in this process. An item's error ends the map and is raised here;
    items under way end first.

    Raises:
        ResourceUnavailable: a worker process was killed, most often for want of memory.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        for item in items:
            yield item, function(item)
        return
    # Not fork: PyTorch's and Arrow's threads do not survive it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(function,)) as pool:
        futures = {pool.submit(_apply, item): item for item in items}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise ResourceUnavailable(
                f"one of {workers} worker processes was killed, perhaps out of memory; "
                f"run again with {WORKERS}={workers // 2}: finished shards are kept"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_function: Callable[[Any], Any]  # of a worker process, set once when it starts


def _start(function: Callable[[Any], Any]) -> None:
    global _function  # noqa: PLW0603 - the pool has no other place for what a worker keeps between items
    _function = function
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores; read when torch is imported
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers, which would wait for items for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _apply(item: Any) -> Any:
    return _function(item)
