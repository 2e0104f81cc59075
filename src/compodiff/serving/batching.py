"""Concurrent queries share the work of the model: what waits while it is busy is answered together.

One thread runs the model, off the event loop. No query waits for others to come: a lone one starts at once.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from compodiff.errors import CompoDiffError
from compodiff.search.progress import Listener, PhaseTimer, SearchProgress
from compodiff.search.query import PreparedQuery
from compodiff.search.ranking import Ranking
from compodiff.serving.champion import ServedModel

Done = TypeVar("Done")


@dataclass(frozen=True, eq=False)
class QueuedQuery:
    """A query in the queue, and where its answer goes."""

    live: ServedModel
    prepared: PreparedQuery
    listener: Listener | None
    answer: "asyncio.Future[tuple[Ranking, float]]"
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """A queue in front of the model."""

    def __init__(self, most: int, on_batch: Callable[[int], None]) -> None:
        """Answer up to `most` queries at once; `on_batch` is told how many there were."""
        self._most, self._on_batch = most, on_batch
        self._queue: asyncio.Queue[QueuedQuery] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "model")

    async def submit(
        self, live: ServedModel, prepared: PreparedQuery, listener: Listener | None = None
    ) -> tuple[Ranking, float]:
        """Answer one query; return the answer and how long it waited. The thread of the model tells `listener` news."""
        answer: asyncio.Future[tuple[Ranking, float]] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(QueuedQuery(live, prepared, listener, answer))
        return await answer

    async def run_alone(self, work: Callable[[], Done]) -> Done:
        """Do `work` in the thread of the model, between its batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def run(self) -> None:
        """Answer until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._take_batch()
            running = loop.run_in_executor(self._thread, self._answer, batch)
            (answers,) = await asyncio.gather(running, return_exceptions=True)
            for place, waiting in enumerate(batch):
                if waiting.answer.cancelled():
                    continue
                outcome = answers if isinstance(answers, BaseException) else answers[place]
                if isinstance(outcome, BaseException):
                    waiting.answer.set_exception(outcome)
                else:
                    waiting.answer.set_result(outcome)

    async def _take_batch(self) -> list[QueuedQuery]:
        """Return all that waits for the model and index of the first, in order, up to the limit."""
        while (first := await self._queue.get()).answer.cancelled():
            pass
        batch = [first]
        others: list[QueuedQuery] = []
        while not self._queue.empty() and len(batch) < self._most:
            waiting = self._queue.get_nowait()
            if waiting.answer.cancelled():
                continue
            (batch if waiting.live is batch[0].live else others).append(waiting)
        for waiting in others:
            self._queue.put_nowait(waiting)
        self._on_batch(len(batch))
        return batch

    def _answer(self, batch: Sequence[QueuedQuery]) -> list[tuple[Ranking, float] | CompoDiffError]:
        started = time.perf_counter()
        searcher = batch[0].live.searcher

        def tell_progress(progress: SearchProgress) -> None:
            for waiting in batch:
                if waiting.listener is not None:
                    waiting.listener(progress)

        try:
            answers = searcher.answer_all([waiting.prepared for waiting in batch], PhaseTimer(tell_progress))
        except CompoDiffError as error:
            if len(batch) == 1:
                return [error]
            # One query that cannot be answered must not cost its neighbours theirs.
            return [outcome for waiting in batch for outcome in self._answer([waiting])]
        return [(answer, started - waiting.since) for answer, waiting in zip(answers, batch, strict=True)]
