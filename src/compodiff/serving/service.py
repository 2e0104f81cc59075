"""A search from its form to its answer, and all that lives as long as the application."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace

from fastapi import HTTPException

from compodiff.search.progress import Listener, SearchProgress
from compodiff.search.query import PreparedQuery, Query
from compodiff.search.ranking import Hit, Ranking
from compodiff.serving.batching import Batcher
from compodiff.serving.champion import Champion, ServedModel
from compodiff.serving.form import SearchForm, Uploads, make_query, name_known
from compodiff.serving.limits import Limits
from compodiff.serving.live_watch import LiveWatch
from compodiff.serving.metrics import ServiceMetrics
from compodiff.serving.openings import Openings
from compodiff.serving.pictures import Thumbnails
from compodiff.serving.replies import RankingReply, make_ranking_reply
from compodiff.watching.tracing import record_phases

_RETRY_SECONDS = 1
_log = logging.getLogger("compodiff.serving")


@dataclass(frozen=True)
class StartedSearch:
    """A search whose query is known to be a good one; the model has not run yet."""

    live: ServedModel
    form: SearchForm
    query: Query
    prepared: PreparedQuery
    since: float
    seconds: float  # that preparing took


class Service:
    """The model, the queue in front of it, and the counters."""

    def __init__(self, champion: Champion, limits: Limits, refresh_seconds: float, watch: LiveWatch) -> None:
        """Serve what `champion` holds, and look for a newer one every `refresh_seconds`; `watch` follows queries."""
        self.champion, self.limits, self.watch = champion, limits, watch
        self.metrics, self.thumbnails = ServiceMetrics(), Thumbnails()
        for each in watch.collectors:
            self.metrics.registry.register(each)
        self._batcher = Batcher(limits.batch, self.metrics.batches.observe)
        self._decoding = ThreadPoolExecutor(2, "decode")
        self.openings = Openings(self.ask)
        self._refresh_seconds = refresh_seconds
        self._waiting = 0

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Answer queries and follow the champion for as long as the block lasts."""
        works = (self._batcher.run(), self._follow(), self.watch.run(lambda: not self._waiting))
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            try:
                await asyncio.wait(tasks)
                for task in tasks:
                    with suppress(asyncio.CancelledError):
                        task.result()
            finally:
                self.watch.end()

    async def begin(self, form: SearchForm, client: str = "") -> StartedSearch:
        """Decode, look up and check; what is wrong with a query comes out here.

        Args:
            form: what is asked.
            client: who asks, by address.

        Raises:
            InputInvalid: the query cannot be answered.
            HTTPException: 429, there are too many already.
        """
        if self._waiting >= self.limits.waiting:
            raise HTTPException(
                429,
                f"{self._waiting} queries are waiting; try again in {_RETRY_SECONDS} s",
                {"Retry-After": str(_RETRY_SECONDS)},
            )
        since = time.perf_counter()
        live = self.champion.live
        uploads = await Uploads.of(form)

        def prepare() -> tuple[SearchForm, Query, ServedModel, PreparedQuery]:
            named, left = name_known(form, uploads, live.searcher.index)
            query = make_query(named, left, self.limits.pixels)
            return named, query, *self.watch.prepare(query, client, live)

        with self._count_query():
            loop = asyncio.get_running_loop()
            named, query, chosen, done = await loop.run_in_executor(self._decoding, prepare)
        return StartedSearch(chosen, named, query, done, since, time.perf_counter() - since)

    async def finish(
        self, begun: StartedSearch, listener: Callable[[SearchProgress], None] | None = None
    ) -> RankingReply:
        """Answer a query that `begin` made; the event loop tells `listener` of progress."""
        loop = asyncio.get_running_loop()

        def tell_progress(progress: SearchProgress) -> None:
            if listener is not None:
                loop.call_soon_threadsafe(listener, progress)

        with self._count_query():
            begun, answer, waited = await self._answer(begun, tell_progress if listener else None)
        self.watch.note(begun.query, answer, begun.live, sum(answer.seconds.values()))
        seconds = {"wait": waited, "prepare": begun.seconds, **answer.seconds}
        for phase, spent in (*seconds.items(), ("whole", time.perf_counter() - begun.since)):
            self.metrics.seconds.labels(phase).observe(spent)
        asked: dict[str, str | int] = {"model": begun.live.places.version, "k": begun.query.k, "mode": begun.query.mode}
        record_phases("answer", seconds, asked, begun.live.trained_in)
        return make_ranking_reply(begun.live, begun.form, begun.prepared, answer, seconds)

    async def _answer(self, begun: StartedSearch, listener: Listener | None) -> tuple[StartedSearch, Ranking, float]:
        """Return the answer, how long it waited, and by whom: the champion steps in for a canary that fails."""
        try:
            return begun, *await self._batcher.submit(begun.live, begun.prepared, listener)
        except Exception:
            if not self.watch.can_fall_back(begun.live):
                raise
        live, loop = self.champion.live, asyncio.get_running_loop()
        prepared = await loop.run_in_executor(self._decoding, live.searcher.prepare, begun.query)
        return replace(begun, live=live, prepared=prepared), *await self._batcher.submit(live, prepared, listener)

    async def ask(self, live: ServedModel, query: Query) -> Ranking:
        """Answer a query of the server's own, in turn with those of others."""
        prepared = await asyncio.get_running_loop().run_in_executor(self._decoding, live.searcher.prepare, query)
        return (await self._batcher.submit(live, prepared))[0]

    async def imagine(self, form: SearchForm, client: str = "") -> tuple[ServedModel, list[tuple[Hit, ...]]]:
        """Return what is nearest to where the sampler stands, from the noise to a query's answer, by who answers it.

        Raises:
            InputInvalid: the query cannot be answered.
            HTTPException: 429, there are too many already.
        """
        begun = await self.begin(form, client)
        with self._count_query():
            found = await self._batcher.run_alone(lambda: begun.live.searcher.imagine(begun.prepared))
        return begun.live, found

    @contextmanager
    def _count_query(self) -> Iterator[None]:
        """Count one query as being answered while the block runs."""
        self._waiting += 1
        self.metrics.waiting.set(self._waiting)
        try:
            yield
        finally:
            self._waiting -= 1
            self.metrics.waiting.set(self._waiting)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_seconds)
            for refresh in (self.champion.refresh, self.watch.refresh):
                try:
                    await asyncio.to_thread(refresh)
                except Exception:  # a loop that ends would keep the server at this version, and tell nobody
                    _log.exception("a newer version cannot be looked for; tried again")
            self.metrics.reloads.set(self.champion.reloads)
            self.metrics.stale.set(bool(self.champion.fault))
