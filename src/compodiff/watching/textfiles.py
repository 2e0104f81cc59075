"""Metrics of trainings and flows as text files, which the node exporter of Prometheus reads and shows.

Such processes are gone before anybody could ask them. Where COMPODIFF_TEXTFILES names a folder (the exporter's
`--collector.textfile.directory`), each writes one file there, whole or not at all; else nothing is written. A folder
that cannot be written is said in the log and stops nothing.
"""

import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

TEXTFILES = "COMPODIFF_TEXTFILES"
_LAST_SUCCESS = "compodiff_flow_last_success_timestamp_seconds"
_log = logging.getLogger(__name__)


def publish_training(name: str, *, running: bool, step: int, metrics: Mapping[str, float]) -> None:
    """Tell how far a training is.

    Args:
        name: of the training, such as train_composed.
        running: False once it has ended or was interrupted.
        step: that it has reached.
        metrics: of its last point; loss, samples_per_second, mfu and recall_at_10 are told.
    """
    gauges = {
        "compodiff_training_running": ("1 while the training runs, 0 after its end.", float(running)),
        "compodiff_training_step": ("Steps taken.", float(step)),
        "compodiff_training_last_point_timestamp_seconds": ("When it was last heard of.", time.time()),
    }
    for known, metric, said in (
        ("loss", "compodiff_training_loss", "Mean loss since the point before."),
        ("samples_per_second", "compodiff_training_rows_per_second", "Rows a second since the point before."),
        ("mfu", "compodiff_training_mfu", "Share of the GPU's peak, where that is known."),
        ("recall_at_10", "compodiff_training_recall_at_10", "Of the validation queries."),
    ):
        if known in metrics:
            gauges[metric] = (said, float(metrics[known]))
    _write(f"training_{name}", {"training": name}, gauges)


def publish_flow(name: str, *, succeeded: bool) -> None:
    """Tell that a flow has ended; when it last succeeded stays told after a failure."""
    folder, now = os.environ.get(TEXTFILES), time.time()
    if not folder:
        return
    earlier = _read_gauge(_find_file(Path(folder), f"flow_{name}"), _LAST_SUCCESS)
    success = now if succeeded else earlier
    gauges = {"compodiff_flow_last_run_timestamp_seconds": ("When the flow ended last, however.", now)}
    if success is not None:
        gauges[_LAST_SUCCESS] = ("When the flow last ended well.", success)
    _write(f"flow_{name}", {"flow": name}, gauges)


def publish_drift(*, found: bool, distances: Mapping[str, float], disliked: float | None) -> None:
    """Tell what the last look for drift came to.

    Args:
        found: whether live queries have drifted.
        distances: by what was compared (answers, references), the distance of live queries from the benchmark's.
        disliked: share of the pictures that people judged which they called less like what they meant.
    """
    gauges = {
        "compodiff_drift_found": ("1 where live queries are not what the champion was measured on.", float(found)),
        "compodiff_drift_timestamp_seconds": ("When it was looked at last.", time.time()),
    }
    for what, distance in distances.items():
        gauges[f"compodiff_drift_{what}_distance"] = ("Maximum mean discrepancy from the benchmark's.", distance)
    if disliked is not None:
        gauges["compodiff_drift_disliked_share"] = ("Of pictures that people judged.", disliked)
    _write("drift", {}, gauges)


def _write(name: str, labels: Mapping[str, str], gauges: Mapping[str, tuple[str, float]]) -> None:
    if not (folder := os.environ.get(TEXTFILES)):
        return
    registry = CollectorRegistry()
    for metric, (said, value) in gauges.items():
        gauge = Gauge(metric, said, tuple(labels), registry=registry)
        (gauge.labels(**labels) if labels else gauge).set(value)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_to_textfile(str(_find_file(Path(folder), name)), registry)
    except OSError as error:
        _log.warning("%s=%s cannot be written: %s", TEXTFILES, folder, error.strerror)


def _find_file(folder: Path, name: str) -> Path:
    return folder / f"compodiff_{re.sub(r'[^a-z0-9]+', '_', name.lower())}.prom"


def _read_gauge(file: Path, name: str) -> float | None:
    """Return what an earlier process wrote; None where it wrote nothing, or nothing that can be read."""
    try:
        families = [*text_string_to_metric_families(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError):
        return None
    return next((sample.value for family in families for sample in family.samples if sample.name == name), None)
