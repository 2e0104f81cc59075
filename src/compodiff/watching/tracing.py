"""Spans of OpenTelemetry, sent by OTLP over HTTP where OTEL_EXPORTER_OTLP_ENDPOINT names who takes them.

Without it a span costs some microseconds and goes nowhere. Spans hold no texts, pictures or ids of pictures. This
module imports nothing that an installation has yet to bring: flows begin with it.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_NAME = "compodiff"


def start_tracing(service: str) -> bool:
    """Send this process's spans as those of `service` where the environment asks for it; return whether it does.

    They are sent from a thread of the SDK, and the rest when the process ends. A receiver that is away loses spans and
    stops nothing.
    """
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return False
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", service)})
    provider = TracerProvider(resource=named)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return True


@contextmanager
def trace_block(name: str, attributes: Mapping[str, str | int]) -> Iterator[None]:
    """Make the block a span; an exception that leaves it is noted there."""
    from opentelemetry import trace

    with trace.get_tracer(_NAME).start_as_current_span(name, attributes=dict(attributes)):
        yield


def record_phases(name: str, phases: Mapping[str, float], attributes: Mapping[str, str | int]) -> None:
    """Record a span that ends now, with one below it for each phase, in order.

    Args:
        name: of the whole.
        phases: name -> seconds, one after the other.
        attributes: of the whole.
    """
    from opentelemetry import trace

    tracer = trace.get_tracer(_NAME)
    ends = time.time_ns()
    begins = ends - int(sum(phases.values()) * 1e9)
    whole = tracer.start_span(name, start_time=begins, attributes=dict(attributes))
    below = trace.set_span_in_context(whole)
    for phase, seconds in phases.items():
        span = tracer.start_span(phase, context=below, start_time=begins)
        begins += int(seconds * 1e9)
        span.end(begins)
    whole.end(ends)
