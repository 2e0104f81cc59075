"""A challenger that is asked a share of the live queries after they were answered; nobody waits for what it says."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from prometheus_client import Counter, Histogram
from prometheus_client.registry import Collector

from compodiff.machine import lower_priority
from compodiff.search.query import Query, list_parts
from compodiff.search.ranking import Ranking
from compodiff.serving.champion import Champion, ServedModel
from compodiff.serving.json_log import write_event
from compodiff.serving.metrics import SECONDS
from compodiff.serving.verdicts import Record, record_nowhere

_log = logging.getLogger("compodiff.serving")
_WAITING = 32  # queries that may wait for the challenger; more are dropped
_LOOK_AGAIN_SECONDS, _PATIENCE_SECONDS = 0.02, 5.0  # until nobody waits for the champion
_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class AnsweredQuery:
    """A live query and what the model that is served said."""

    query: Query
    served: ServedModel
    found: tuple[str, ...]
    seconds: float


@dataclass
class _Tally:
    """Sums over the queries that one version was asked."""

    version: str = ""
    answered: int = 0
    failed: int = 0
    overlap: float = 0.0
    champion_seconds: float = 0.0
    seconds: float = 0.0


class Shadow:
    """Asks the challenger when the server is idle, and counts how far the two agree."""

    def __init__(
        self, challenger: Champion, share: float, log: logging.Logger | None, record: Record = record_nowhere
    ) -> None:
        """Ask `challenger` the `share` of live queries.

        Args:
            challenger: who is asked.
            share: of live queries.
            log: gets a line of JSON for each, without its text.
            record: gets what came of a version, once it is another or the server ends.
        """
        self.challenger, self._share, self._log, self._record = challenger, share, log, record
        self._tally = _Tally()
        self._queue: asyncio.Queue[AnsweredQuery] = asyncio.Queue(_WAITING)
        self._thread = ThreadPoolExecutor(1, "shadow", initializer=lower_priority)
        self._random = random.Random()
        said = "Live queries that the shadow was to answer, by what came of it."
        self.queries = Counter("compodiff_shadow_queries", said, ("outcome",), registry=None)
        said = "Share of the first answers that champion and shadow have in common."
        self.overlap = Histogram("compodiff_shadow_overlap", said, buckets=_SHARES, registry=None)
        said = "Seconds that the model took, of queries that both answered."
        self.seconds = Histogram("compodiff_shadow_seconds", said, ("model",), buckets=SECONDS, registry=None)

    @property
    def collectors(self) -> list[Collector]:
        """What Prometheus reads."""
        return [self.queries, self.overlap, self.seconds]

    def offer(self, query: Query, answer: Ranking, served: ServedModel, seconds: float) -> None:
        """Take note of an answered query; it costs nothing beyond a place in a queue."""
        if self._random.random() >= self._share:
            return
        found = tuple(hit.picture_id for hit in answer.hits)
        try:
            self._queue.put_nowait(AnsweredQuery(query, served, found, seconds))
        except asyncio.QueueFull:
            self.queries.labels("dropped").inc()

    async def run(self, is_idle: Callable[[], bool]) -> None:
        """Answer until cancelled, one query at a time, while `is_idle` says that nobody waits for an answer."""
        loop = asyncio.get_running_loop()
        while True:
            answered = await self._queue.get()
            until = loop.time() + _PATIENCE_SECONDS
            while not is_idle() and loop.time() < until:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            if is_idle():
                try:
                    await loop.run_in_executor(self._thread, self._answer, answered)
                except Exception:  # a loop that ends would ask the challenger nothing more, and tell nobody
                    _log.exception("the shadow's answer is not counted")
            else:
                self.queries.labels("dropped").inc()

    def _answer(self, answered: AnsweredQuery) -> None:
        live = self.challenger.live
        if not _is_comparable(answered, live):
            self.queries.labels("not comparable").inc()
            return
        if live.places.version != self._tally.version:
            self.conclude()
            self._tally = _Tally(live.places.version)
        started = time.perf_counter()
        event = {"champion": answered.served.places.version, "shadow": live.places.version, "k": answered.query.k}
        try:
            found = [hit.picture_id for hit in live.searcher.answer(answered.query).hits]
        except Exception as error:  # whatever a challenger does wrong is what its shadow is there to find
            write_event(self._log, event | {"outcome": "failed", "error": type(error).__name__})
            self._tally.failed += 1
            self.queries.labels("failed").inc()  # last: who sees the count finds the line
            return
        seconds = time.perf_counter() - started
        overlap = len({*found} & {*answered.found}) / max(len(found), len(answered.found), 1)
        self._tally.answered += 1
        self._tally.overlap += overlap
        self._tally.champion_seconds += answered.seconds
        self._tally.seconds += seconds
        self.overlap.observe(overlap)
        self.seconds.labels("champion").observe(answered.seconds)
        self.seconds.labels("shadow").observe(seconds)
        agreement = {"overlap": round(overlap, 3), "same_first": found[:1] == [*answered.found[:1]]}
        taken = {"champion_seconds": round(answered.seconds, 4), "shadow_seconds": round(seconds, 4)}
        write_event(self._log, event | {"outcome": "answered"} | agreement | taken)
        self.queries.labels("answered").inc()

    def conclude(self) -> None:
        """Record what came of the version that was asked, if it was asked anything, and forget it."""
        seen, self._tally = self._tally, _Tally()
        if not (asked := seen.answered + seen.failed):
            return
        figures = {"shadow/queries": float(asked), "shadow/failed": float(seen.failed)}
        said = f"{asked} live queries, {seen.failed} failed"
        if seen.answered:
            shares = (seen.overlap, seen.seconds, seen.champion_seconds)
            overlap, own, other = (value / seen.answered for value in shares)
            figures |= {"shadow/overlap": overlap, "shadow/seconds": own, "shadow/champion_seconds": other}
            said += f"; {overlap:.0%} of the answers are the champion's; {own:.3f} s each, the champion {other:.3f} s"
        self._record(seen.version, said, figures)


def _is_comparable(answered: AnsweredQuery, live: ServedModel) -> bool:
    """Return whether the two are different models, and a reference that is an embedding fits both."""
    if live.places.composed == answered.served.places.composed:
        return False
    own, other = (each.searcher.composer.encoder.manifest for each in (live, answered.served))
    return own == other or not any(isinstance(part, np.ndarray) for part in list_parts(answered.query.reference))
