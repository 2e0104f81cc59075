"""Map a function over shards, in processes of this machine or on Ray; nothing else knows where a shard is made.

COMPODIFF_EXECUTION chooses the engine: `local` (the default), or `ray`, which joins the cluster at RAY_ADDRESS, or
starts one here where that is not set. Either way at most one item a worker is under way, the caller sees each item
once, and a worker that is killed is replaced and its item given out again.

The function must be picklable, and do again what it did when it gets an item a second time: a worker may be killed
after the work and before its word of it. What it should keep between items (a loaded encoder) it holds itself, for
instance in a `functools.cached_property`: each worker has one copy of the function for all its items.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from math import ceil
from typing import TypeVar

from compodiff.errors import InputInvalid
from compodiff.execution.crew import WORKERS, give_out
from compodiff.execution.local import LocalWorker, list_visible_gpus
from compodiff.execution.on_ray import RayWorker, count_cpus, count_gpus
from compodiff.machine import count_usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

EXECUTION = "COMPODIFF_EXECUTION"
LOCAL, RAY = "local", "ray"


def count_workers() -> int:
    """Return how many workers to use: COMPODIFF_WORKERS, or the cores that this process, or the Ray cluster, may use.

    Raises:
        InputInvalid: COMPODIFF_WORKERS is not a positive number, or COMPODIFF_EXECUTION no engine.
        ResourceUnavailable: there is no Ray, or none answers at RAY_ADDRESS.
    """
    text = os.environ.get(WORKERS)
    if text is None:
        return count_usable_cores() if _choose_engine() == LOCAL else count_cpus()
    if not text.isdecimal() or int(text) < 1:
        raise InputInvalid(f"{WORKERS} is {text!r}; set it to a number of processes, 1 or more")
    return int(text)


def is_spread() -> bool:
    """Return whether the environment asks for more than this process: by workers, by Ray or by several GPUs.

    Raises:
        InputInvalid: COMPODIFF_EXECUTION is no engine.
    """
    return WORKERS in os.environ or _choose_engine() == RAY or len(list_visible_gpus()) > 1


def map_shards(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, on_gpu: bool = True
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, function(item)) as each item is done, in any order; `items` is read as workers get free.

    With one worker, or one item, everything happens in this process, unless on Ray. An item's error ends the map and is
    raised here; items under way end first.

    Args:
        function: picklable; see above.
        items: picklable.
        workers: at most so many.
        on_gpu: whether workers use GPUs. Where there are any, each worker sees one, and there are no more workers than
            GPUs, unless COMPODIFF_WORKERS asks for more, which then share.

    Raises:
        InputInvalid: COMPODIFF_EXECUTION is no engine.
        ResourceUnavailable: three workers died at one item, most often for want of memory; or there is no Ray.
    """
    waiting = iter(items)
    if _choose_engine() == RAY:
        gpus = count_gpus() if on_gpu else 0
        first = list(islice(waiting, _limit_to_memory(workers, gpus)))
        if first:
            share = 1 / ceil(len(first) / gpus) if gpus else 0
            yield from give_out(chain(first, waiting), len(first), lambda _: RayWorker(function, gpus=share))
        return
    visible = list_visible_gpus() if on_gpu else []
    first = list(islice(waiting, _limit_to_memory(workers, len(visible))))
    if len(first) <= 1:
        for item in chain(first, waiting):
            yield item, function(item)
        return
    gpu_of = [visible[slot % len(visible)] if visible else None for slot in range(len(first))]
    yield from give_out(chain(first, waiting), len(first), lambda slot: LocalWorker(function, gpu_of[slot]))


def _choose_engine() -> str:
    engine = os.environ.get(EXECUTION, LOCAL)
    if engine not in (LOCAL, RAY):
        raise InputInvalid(f"{EXECUTION} is {engine!r}; set it to {LOCAL} or {RAY}")
    return engine


def _limit_to_memory(workers: int, gpus: int) -> int:
    return min(workers, gpus) if gpus and WORKERS not in os.environ else workers
