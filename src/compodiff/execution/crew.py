"""Give items to workers of any kind: one at a time to each, and again where a worker was lost over it."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, Protocol

from compodiff.errors import ResourceUnavailable

WORKERS = "COMPODIFF_WORKERS"
ATTEMPTS = 3  # how many workers an item may cost before it is at fault itself
PLACEMENT_SECONDS = 1800  # a cluster that grows on demand may take its time
log = logging.getLogger(__name__)


class WorkerLost(Exception):
    """A worker's process ended before its word of what it did."""


class Worker(Protocol):
    """A process somewhere that does one thing at a time."""

    def prepare(self) -> "Future[Any]":
        """Start it; done when it can be given items."""

    def submit(self, item: Any) -> "Future[Any]":
        """Give it an item."""

    def collect(self, future: "Future[Any]") -> Any:
        """Take the result, or raise the item's own error, or `WorkerLost`."""

    def dismiss(self) -> None:
        """Let it go; it is at nothing, or only starting."""


@dataclass(frozen=True)
class _Task:
    """What a worker is at; `item` is None while it starts."""

    worker: Worker
    slot: int
    item: tuple[Any] | None = None
    attempt: int = 1


def give_out(items: Iterable[Any], workers: int, hire: Callable[[int], Worker]) -> Iterator[tuple[Any, Any]]:
    """Keep `workers` workers busy; `hire` is given a slot's number, which a replacement inherits."""
    waiting = ((item, 1) for item in items)
    again: deque[tuple[Any, int]] = deque()
    tasks: dict[Future[Any], _Task] = {}

    def employ(slot: int, attempt: int = 1) -> None:
        worker = hire(slot)
        tasks[worker.prepare()] = _Task(worker, slot, attempt=attempt)

    try:
        for slot in range(workers):
            employ(slot)
        while tasks:
            done, _ = wait(tasks, PLACEMENT_SECONDS, FIRST_COMPLETED)
            if not done and all(task.item is None for task in tasks.values()):
                raise ResourceUnavailable(f"no worker started within {PLACEMENT_SECONDS} s; see if the cluster is full")
            for future in done:
                task = tasks.pop(future)
                try:
                    result = task.worker.collect(future)
                except WorkerLost as loss:
                    _accept_loss(task, loss)
                    if task.item:
                        again.append((*task.item, task.attempt + 1))
                    task.worker.dismiss()
                    employ(task.slot, 1 if task.item else task.attempt + 1)
                    continue
                following = again.popleft() if again else next(waiting, None)
                if following is None:
                    task.worker.dismiss()
                else:
                    item, attempt = following
                    tasks[task.worker.submit(item)] = _Task(task.worker, task.slot, (item,), attempt)
                if task.item:
                    yield task.item[0], result
    finally:
        wait(future for future, task in tasks.items() if task.item)
        for task in tasks.values():
            task.worker.dismiss()


def _accept_loss(task: _Task, loss: WorkerLost) -> None:
    """Say that a worker was lost; raise where that happened too often."""
    at = "its start" if task.item is None else str(getattr(task.item[0], "path", task.item[0]))[:200]
    if task.attempt < ATTEMPTS:
        log.warning("a worker was lost at %s (%s); another takes over, attempt %d", at, loss, task.attempt + 1)
        return
    raise ResourceUnavailable(
        f"{ATTEMPTS} workers died at {at} ({loss}), perhaps for want of memory; "
        f"run again with a smaller {WORKERS}: finished shards are kept"
    ) from loss
