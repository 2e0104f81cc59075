"""What Prometheus reads at /metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class ServiceMetrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "compodiff_requests", "Requests, by route and status code.", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "compodiff_query_seconds",
            "Seconds that a query takes, by phase; `whole` is what the client waits for.",
            ("phase",),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.batches = Histogram(
            "compodiff_batch_queries",
            "Queries that the model answered in one batch.",
            registry=self.registry,
            buckets=(1, 2, 4, 8, 16, 32),
        )
        self.waiting = Gauge(
            "compodiff_queries_waiting", "Queries that wait or are being answered.", registry=self.registry
        )
        self.reloads = Gauge(
            "compodiff_reloads", "Times that another model or index was loaded.", registry=self.registry
        )
        self.stale = Gauge(
            "compodiff_stale", "1 while a newer model or index cannot be opened, else 0.", registry=self.registry
        )
        ProcessCollector(registry=self.registry)
