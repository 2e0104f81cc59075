"""Spans of OpenTelemetry, sent by OTLP over HTTP where OTEL_EXPORTER_OTLP_ENDPOINT names who takes them.

Without it a span costs some microseconds and goes nowhere. Spans hold no texts, pictures or ids of pictures. A process
that is started within a span goes on in its trace: the environment variable TRACEPARENT names it, as W3C's Trace
Context writes it. This module imports nothing that an installation has yet to bring: flows begin with it.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_NAME = "compodiff"
TRACEPARENT = "traceparent"  # of W3C's Trace Context; as a variable of the environment, in capitals


def start_tracing(service: str) -> bool:
    """Send this process's spans as those of `service` where the environment asks for it; return whether it does.

    They stand below the span that started this process, if the environment names one. They are sent from a thread of
    the SDK, and the rest when the process ends. A receiver that is away loses spans and stops nothing.
    """
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return False
    from opentelemetry import context, propagate, trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", service)})
    provider = TracerProvider(resource=named)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    context.attach(propagate.extract({TRACEPARENT: os.environ.get(TRACEPARENT.upper(), "")}))
    return True


def name_trace() -> dict[str, str]:
    """Return the span that this thread is in, as `traceparent`; nothing where it is in none."""
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return {TRACEPARENT: carrier[TRACEPARENT]} if TRACEPARENT in carrier else {}


def carry_trace(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that this one starts, whose spans then stand below the one it is in."""
    return {**environment, **{name.upper(): value for name, value in name_trace().items()}}


@contextmanager
def trace_block(name: str, attributes: Mapping[str, str | int]) -> Iterator[None]:
    """Make the block a span; an exception that leaves it is noted there."""
    from opentelemetry import trace

    with trace.get_tracer(_NAME).start_as_current_span(name, attributes=dict(attributes)):
        yield


def record_phases(
    name: str, phases: Mapping[str, float], attributes: Mapping[str, str | int], came_of: str = ""
) -> None:
    """Record a span that ends now, with one below it for each phase, in order.

    Args:
        name: of the whole.
        phases: name -> seconds, one after the other.
        attributes: of the whole.
        came_of: the `traceparent` of another trace, to which the whole is linked; "" for none.
    """
    from opentelemetry import propagate, trace

    tracer = trace.get_tracer(_NAME)
    ends = time.time_ns()
    begins = ends - int(sum(phases.values()) * 1e9)
    other = trace.get_current_span(propagate.extract({TRACEPARENT: came_of})).get_span_context() if came_of else None
    links = [trace.Link(other)] if other is not None and other.is_valid else []
    whole = tracer.start_span(name, start_time=begins, attributes=dict(attributes), links=links)
    below = trace.set_span_in_context(whole)
    for phase, seconds in phases.items():
        span = tracer.start_span(phase, context=below, start_time=begins)
        begins += int(seconds * 1e9)
        span.end(begins)
    whole.end(ends)
