"""A challenger that answers a share of the clients, and is withdrawn where it fails or is slower than the champion.

A client stays with the model that it got. A version that was withdrawn stays so until the server starts anew: what went
wrong once is looked at by people, and never tried again by itself. A query that the challenger fails is answered by the
champion.
"""

import hashlib
import logging
import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from prometheus_client import Counter, Gauge
from prometheus_client.registry import Collector

from compodiff.search.query import PreparedQuery, Query
from compodiff.serving.champion import Champion, ServedModel, ServedPaths
from compodiff.serving.json_log import write_event
from compodiff.serving.verdicts import Record, record_nowhere

_log = logging.getLogger("compodiff.serving")
CANARY, CHAMPION = "canary", "champion"


@dataclass(frozen=True)
class CanaryBounds:
    """When a challenger is withdrawn.

    Attributes:
        window: queries of each model that are looked at, the last ones.
        least_errors: fewer are no reason.
        more_errors: share of queries that may fail beyond the champion's share.
        doubt: the chance that this many fail though no more should; small, as it is looked at after each query.
        least_queries: that each model answered, before their times are compared.
        times_slower: bound of the 95th percentile of seconds, as a multiple of the champion's.
        slack_seconds: added to it, as short times vary.
    """

    window: int = 500
    least_errors: int = 3
    more_errors: float = 0.02
    doubt: float = 0.001
    least_queries: int = 50
    times_slower: float = 1.5
    slack_seconds: float = 0.05


class Canary:
    """Chooses who answers, and looks at what came of it."""

    def __init__(
        self,
        challenger: Champion,
        share: float,
        log: logging.Logger | None,
        bounds: CanaryBounds = CanaryBounds(),  # frozen
        record: Record = record_nowhere,
    ) -> None:
        """Send the `share` of clients to `challenger`; `log` and `record` are told where it is withdrawn."""
        self.challenger, self._share, self._log, self._bounds = challenger, share, log, bounds
        self._lock, self._record = threading.Lock(), record
        self._withdrawn: dict[str, str] = {}  # version -> why
        self._reigning: ServedPaths | None = None  # the champion of the last query
        self._begin("")
        said = "Queries by who answered them, and what came of it, while a canary is tried."
        self.queries = Counter("compodiff_canary_queries", said, ("model", "outcome"), registry=None)
        said = "1 while the canary answers its share, 0 when it was withdrawn."
        self.active = Gauge("compodiff_canary_active", said, registry=None)
        self.active.set(1)

    @property
    def collectors(self) -> list[Collector]:
        """What Prometheus reads."""
        return [self.queries, self.active]

    @property
    def withdrawn(self) -> str:
        """Why the challenger as it is now was withdrawn; "" where it was not."""
        return self._withdrawn.get(self.challenger.live.places.version, "")

    def prepare(self, query: Query, client: str, champion: ServedModel) -> tuple[ServedModel, PreparedQuery]:
        """Return who answers a query of `client`, and the query prepared for it.

        Raises:
            InputInvalid: the query cannot be answered, by the champion neither.
        """
        chosen = self._choose(client, champion)
        if chosen is champion:
            return champion, champion.searcher.prepare(query)
        try:
            return chosen, chosen.searcher.prepare(query)
        except Exception:  # a fault of the query is one of the champion's too, which raises it again
            prepared = champion.searcher.prepare(query)
            self.note(chosen, None)
            return champion, prepared

    def is_answering(self, live: ServedModel) -> bool:
        """Return whether `live` is the challenger, and not the champion that it became."""
        return live.places.composed == self.challenger.live.places.composed and not self._is_promoted

    def note(self, live: ServedModel, seconds: float | None) -> None:
        """Take note of a query that `live` answered within `seconds`, or failed to (None); withdraw where it is due.

        A challenger that was promoted is not judged: all queries are its own.
        """
        if self._is_promoted:
            return
        side = CANARY if self.is_answering(live) else CHAMPION
        self.queries.labels(side, "failed" if seconds is None else "answered").inc()
        version = self.challenger.live.places.version
        with self._lock:
            if version != self._version:
                self._begin(version)
            self._seconds[side].append(np.inf if seconds is None else seconds)
            reason = "" if version in self._withdrawn else self._find_reason()
            if not reason:
                return
            self._withdrawn[version] = reason
            seen = np.array(self._seconds[CANARY])
        self.active.set(0)
        _log.warning("the canary %s is withdrawn: %s; the champion answers all", version, reason)
        write_event(self._log, {"canary": version, "outcome": "withdrawn", "reason": reason})
        figures = {"canary/queries": float(len(seen)), "canary/failed": float(np.isinf(seen).sum())}
        # Nobody's answer waits for the registry.
        threading.Thread(target=self._record, args=(version, reason, figures), name="verdict").start()

    @property
    def _is_promoted(self) -> bool:
        reigning = self._reigning
        return reigning is not None and reigning.composed == self.challenger.live.places.composed

    def _begin(self, version: str) -> None:
        self._version = version
        self._seconds: dict[str, deque[float]] = {
            side: deque(maxlen=self._bounds.window) for side in (CANARY, CHAMPION)
        }

    def _choose(self, client: str, champion: ServedModel) -> ServedModel:
        live, self._reigning = self.challenger.live, champion.places
        if self._is_promoted:
            return champion
        self.active.set(0 if self.withdrawn else 1)
        place = int.from_bytes(hashlib.sha256(f"{live.places.version} {client}".encode()).digest()[:8]) / 2**64
        return champion if self.withdrawn or place >= self._share else live

    def _find_reason(self) -> str:
        """Return why the challenger is to be withdrawn, "" where nothing is."""
        bounds, own, other = self._bounds, *(np.array(self._seconds[side]) for side in (CANARY, CHAMPION))
        failed = int(np.isinf(own).sum())
        usual = float(np.isinf(other).mean()) if len(other) else 0.0
        if failed >= bounds.least_errors and self._estimate_least_share(failed, len(own)) > usual + bounds.more_errors:
            return f"{failed} of {len(own)} queries failed, of the champion's {usual:.1%}"
        own, other = (each[np.isfinite(each)] for each in (own, other))
        if min(len(own), len(other)) < bounds.least_queries:
            return ""
        slow, most = (float(np.quantile(each, 0.95)) for each in (own, other))
        limit = bounds.times_slower * most + bounds.slack_seconds
        return f"95 % of queries take up to {slow:.2f} s, the champion's {most:.2f} s" if slow > limit else ""

    def _estimate_least_share(self, failed: int, queries: int) -> float:
        """Return the share of queries that fails at least, up to the doubt (Jeffreys' interval, Brown et al. 2001)."""
        from scipy.stats import beta

        return float(beta.ppf(self._bounds.doubt, failed + 0.5, queries - failed + 0.5))
