"""What trainings and flows tell Prometheus, spans to a receiver, dashboard and alerts that ask for what there is."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from compodiff.serving.canary import Canary
from compodiff.serving.metrics import ServiceMetrics
from compodiff.serving.shadow import Shadow
from compodiff.tracking.runs import TrainingRun, record_training
from compodiff.watching.textfiles import TEXTFILES, publish_drift, publish_flow, publish_training
from compodiff.watching.tracing import carry_trace, record_phases

ROOT = Path(__file__).parents[3]


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(TEXTFILES, str(tmp_path / "texts"))
    return tmp_path / "texts"


def read_all(folder: Path) -> dict[tuple[str, str], float]:
    """Return the value of each metric by its name and its one label."""
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for file in folder.glob("*.prom")
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    }


def test_a_training_tells_how_far_it_is_and_that_it_ended(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingRun, "deliver", lambda _: False)  # MLflow is away: Prometheus is told all the same
    (tmp_path / "params.yaml").write_text("data: {}\n")
    with record_training("train_prior", {"steps": 3}, tmp_path / "artifacts" / "prior") as run:
        assert read_all(texts)[("compodiff_training_running", "train_prior")] == 1
        run.log_metrics(20, {"loss": 0.5, "samples_per_second": 90.0, "mfu": 0.4, "recall_at_10": 0.25, "cosine": 0.1})
        told = read_all(texts)
        assert told[("compodiff_training_loss", "train_prior")] == 0.5
        assert told[("compodiff_training_rows_per_second", "train_prior")] == 90
        assert told[("compodiff_training_mfu", "train_prior")] == 0.4
        assert told[("compodiff_training_step", "train_prior")] == 20
    assert read_all(texts)[("compodiff_training_running", "train_prior")] == 0
    assert read_all(texts)[("compodiff_training_loss", "train_prior")] == 0.5


def test_when_a_flow_last_succeeded_is_told_after_a_failure_too(texts: Path) -> None:
    publish_flow("training", succeeded=True)
    first = read_all(texts)
    publish_flow("training", succeeded=False)
    second = read_all(texts)
    success, run = (f"compodiff_flow_last_{what}_timestamp_seconds" for what in ("success", "run"))
    assert second[(success, "training")] == first[(success, "training")]
    assert second[(run, "training")] > first[(run, "training")]
    publish_flow("dataset", succeeded=False)
    assert (success, "dataset") not in read_all(texts)


def test_a_folder_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(TEXTFILES, str(tmp_path / "file" / "texts"))
    publish_training("train_prior", running=True, step=0, metrics={})
    assert f"{TEXTFILES}=" in caplog.text


def list_exported(texts: Path) -> set[str]:
    """Return the names of all metrics that the code can show."""
    known = {"loss": 1, "samples_per_second": 1, "mfu": 0.4, "recall_at_10": 1}
    publish_training("a", running=True, step=1, metrics=known)
    publish_flow("a", succeeded=True)
    publish_drift(found=True, distances={"answers": 0.1, "references": 0.1}, disliked=0.5)
    told = {name for name, _ in read_all(texts)}
    watched: list[Any] = [Shadow(None, 0.1, None), Canary(None, 0.1, None)]  # type: ignore[arg-type]
    collectors = [collector for each in watched for collector in each.collectors]
    families = [*ServiceMetrics().registry.collect(), *(family for each in collectors for family in each.collect())]
    for family in families:
        ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        told |= {f"{family.name}{end}" for end in ends}
    return told


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_there_are(texts: Path) -> None:
    exported = list_exported(texts)
    dashboard = json.loads((ROOT / "infra" / "grafana" / "compodiff.json").read_text())
    alerts = yaml.safe_load((ROOT / "infra" / "prometheus" / "alerts.yaml").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = {rule["alert"]: rule["expr"] for group in alerts["groups"] for rule in group["rules"]}
    assert {"TrainingStalled", "ScheduleDidNotRun", "QueriesFail", "QueriesDrifted"} <= {*rules}
    named = {name for text in (*asked, *rules.values()) for name in re.findall(r"compodiff_\w+", text)}
    assert named - exported == set()
    ours = {name for name in exported if name.startswith("compodiff_")}
    unseen = {name.removesuffix("_bucket") for name in ours - named if not name.endswith(("_sum", "_count"))}
    shown = {name.removesuffix(end) for name in named for end in ("_sum", "_count", "_bucket")}
    told_elsewhere = {"compodiff_training_step", "compodiff_drift_timestamp_seconds"}
    assert unseen - shown == told_elsewhere | {"compodiff_flow_last_run_timestamp_seconds"}


TRAINED_IN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trace, "get_tracer", provider.get_tracer)
        record_phases("answer", {"encode": 0.25, "sample": 0.5}, {"model": "m", "k": 3}, TRAINED_IN)
    return exporter


def test_phases_are_spans_below_the_whole_one_after_the_other(spans: InMemorySpanExporter) -> None:
    encode, sample, whole = spans.get_finished_spans()
    assert [each.name for each in (encode, sample, whole)] == ["encode", "sample", "answer"]
    assert encode.parent == sample.parent == whole.context
    assert encode.end_time == sample.start_time
    assert sample.end_time - sample.start_time == pytest.approx(5e8)
    assert dict(whole.attributes or {}) == {"model": "m", "k": 3}


def test_an_answer_is_linked_to_the_trace_of_its_models_training(spans: InMemorySpanExporter) -> None:
    whole = spans.get_finished_spans()[-1]
    (link,) = whole.links
    assert format(link.context.trace_id, "032x") == TRAINED_IN.split("-")[1]
    assert whole.context is not None
    assert link.context.trace_id != whole.context.trace_id


class Receiver(BaseHTTPRequestHandler):
    """Takes traces as a collector does."""

    received: list[ExportTraceServiceRequest]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        self.received.append(request)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    Receiver.received = []
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", Receiver.received
        server.shutdown()


def test_a_process_sends_its_spans_where_the_environment_says(
    receiver: tuple[str, list[ExportTraceServiceRequest]],
) -> None:
    address, received = receiver
    code = (
        "from compodiff.watching.tracing import start_tracing, trace_block\n"
        "assert start_tracing('compodiff-stages')\n"
        "with trace_block('stage embed@emoji', {'stage': 'embed@emoji'}): pass"
    )
    given = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
    with TracerProvider().get_tracer("prefect").start_as_current_span("embed@emoji") as task:
        subprocess.run([sys.executable, "-c", code], env=carry_trace(given), check=True)
    (resource,) = (each for request in received for each in request.resource_spans)
    (span,) = (each for scope in resource.scope_spans for each in scope.spans)
    assert span.name == "stage embed@emoji"
    asked_by = task.get_span_context()
    assert (int.from_bytes(span.trace_id), int.from_bytes(span.parent_span_id)) == (asked_by.trace_id, asked_by.span_id)
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert named["service.name"] == "compodiff-stages"
