"""What follows the live queries besides answering them: a shadow, a canary, embeddings that are kept for drift."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client.registry import Collector

from compodiff.drift.reservoir import QueryReservoir
from compodiff.errors import CompoDiffError
from compodiff.search.query import PreparedQuery, Query
from compodiff.search.ranking import Ranking
from compodiff.serving.canary import Canary
from compodiff.serving.champion import ServedModel
from compodiff.serving.shadow import Shadow

_SAVE_SECONDS = 60.0
_log = logging.getLogger("compodiff.serving")


@dataclass(frozen=True)
class LiveWatch:
    """Whatever of the three was asked for."""

    shadow: Shadow | None = None
    canary: Canary | None = None
    kept: QueryReservoir | None = None

    @property
    def collectors(self) -> list[Collector]:
        """What Prometheus reads."""
        return [each for part in (self.shadow, self.canary) if part is not None for each in part.collectors]

    def prepare(self, query: Query, client: str, champion: ServedModel) -> tuple[ServedModel, PreparedQuery]:
        """Return who answers a query, and the query prepared for it.

        Raises:
            InputInvalid: the query cannot be answered.
        """
        if self.canary is None:
            return champion, champion.searcher.prepare(query)
        return self.canary.prepare(query, client, champion)

    def can_fall_back(self, live: ServedModel) -> bool:
        """Note that `live` failed a query; return whether the champion can answer it instead."""
        if self.canary is None:
            return False
        self.canary.note(live, None)
        return self.canary.is_answering(live)

    def note(self, query: Query, answer: Ranking, live: ServedModel, seconds: float) -> None:
        """Take note of a query that was answered."""
        if self.canary is not None:
            self.canary.note(live, seconds)
        is_canary = self.canary is not None and self.canary.is_answering(live)
        if self.kept is not None and not is_canary:  # of one model: another one's begin anew
            fed = len(query.more), len(query.less)
            self.kept.note(live.places.version, answer.embedding, answer.reference, *fed)
        if self.shadow is not None and not is_canary:
            self.shadow.offer(query, answer, live, seconds)

    def refresh(self) -> None:
        """Look for newer challengers."""
        for part in (self.shadow, self.canary):
            if part is not None:
                part.challenger.refresh()

    async def run(self, is_idle: Callable[[], bool]) -> None:
        """Do in the background what is to be done, until cancelled; `is_idle`: nobody waits for an answer."""
        waiting = [self._save_often()] if self.kept is not None else []
        waiting += [self.shadow.run(is_idle)] if self.shadow is not None else []
        await asyncio.gather(*waiting)

    def save(self) -> None:
        """Write the kept queries; where that fails it is said, and tried again later."""
        try:
            if self.kept is not None:
                self.kept.save()
        except CompoDiffError as error:
            _log.warning("queries are not kept: %s", error)
        except Exception:  # a loop that ends would keep none of the later ones, and tell nobody
            _log.exception("queries are not kept")

    def end(self) -> None:
        """Write what is kept, and what came of the shadow; called once, when the server ends."""
        self.save()
        if self.shadow is not None:
            self.shadow.conclude()

    async def _save_often(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_SECONDS)
            await asyncio.to_thread(self.save)
