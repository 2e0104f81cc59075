"""Seconds and memory of some work, in a process of its own; files that are mapped are not counted as memory."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import psutil

MEGABYTE = 2**20
_EVERY = 0.005  # seconds between two looks at the memory


@dataclass(frozen=True)
class Cost:
    """What some work took.

    Attributes:
        seconds: of the wall.
        processor_seconds: that its process worked, all threads together; a machine that is shared hardly changes them.
        megabytes: by how much its process grew meanwhile at most.
    """

    seconds: float
    processor_seconds: float
    megabytes: float


def run_apart(function: Callable[..., Any], *arguments: Any, environment: Mapping[str, str] | None = None) -> Any:
    """Call a function in a new process, which sees `environment` beside its own."""
    with ProcessPoolExecutor(1, get_context("spawn"), _set_environment, (dict(environment or {}),)) as pool:
        return pool.submit(function, *arguments).result()


def measure(prepare: Callable[..., Callable[[], object]], *arguments: Any) -> Cost:
    """Return what the function takes that `prepare(*arguments)` returns."""
    work = prepare(*arguments)
    process, peak, is_done = psutil.Process(), [0], threading.Event()

    def look() -> int:
        used = process.memory_info()
        return int(used.rss - getattr(used, "shared", 0))

    def watch() -> None:
        while not is_done.wait(_EVERY):
            peak[0] = max(peak[0], look())

    before = look()
    watcher = threading.Thread(target=watch)
    watcher.start()
    began, worked = time.perf_counter(), time.process_time()
    try:
        work()
    finally:
        seconds, worked = time.perf_counter() - began, time.process_time() - worked
        is_done.set()
        watcher.join()
    return Cost(seconds, worked, max(0, max(peak[0], look()) - before) / MEGABYTE)


def _set_environment(environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
