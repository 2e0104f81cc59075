"""What Prometheus reads at /metrics."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class ServiceMetrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        gauge, histogram = partial(Gauge, registry=self.registry), partial(Histogram, registry=self.registry)
        self.requests = Counter(
            "compodiff_requests", "Requests, by route and status code.", ("route", "status"), registry=self.registry
        )
        said = "Answers that failed by a fault of the server while they were streamed; their status is 200."
        self.failed_streams = Counter("compodiff_failed_streams", said, registry=self.registry)
        said = "Seconds that a query takes, by phase; `whole` is what the client waits for."
        self.seconds = histogram("compodiff_query_seconds", said, ("phase",), buckets=SECONDS)
        said = "Queries that the model answered in one batch."
        self.batches = histogram("compodiff_batch_queries", said, buckets=(1, 2, 4, 8, 16, 32))
        self.waiting = gauge("compodiff_queries_waiting", "Queries that wait or are being answered.")
        self.reloads = gauge("compodiff_reloads", "Times that another model or index was loaded.")
        self.stale = gauge("compodiff_stale", "1 while a newer model or index cannot be opened, else 0.")
        ProcessCollector(registry=self.registry)
