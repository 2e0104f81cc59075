"""What Prometheus sees."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "compodiff_requests", "Requests by route and status.", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "compodiff_query_seconds",
            "Seconds of a query, by phase; `whole` is what the client waits for.",
            ("phase",),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.batches = Histogram(
            "compodiff_batch_queries",
            "Queries that the model answered at once.",
            registry=self.registry,
            buckets=(1, 2, 4, 8, 16, 32),
        )
        self.waiting = Gauge("compodiff_queries_waiting", "Queries in the house.", registry=self.registry)
        self.reloads = Gauge("compodiff_reloads", "Times the model or index was exchanged.", registry=self.registry)
        self.stale = Gauge("compodiff_stale", "1 where a newer one cannot be opened.", registry=self.registry)
        ProcessCollector(registry=self.registry)
