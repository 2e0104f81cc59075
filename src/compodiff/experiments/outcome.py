"""What an experiment found: points, written as a table, a plot and notes."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compodiff.project import find_project_root
from compodiff.storage.atomic import replace_folder, write_json
from compodiff.tracking.runs import record_training

Value = str | float | int
BEYOND = 10  # times the largest x that was run: how far a fitted line is drawn


@dataclass(frozen=True)
class Measurement:
    """One measurement: the settings that were varied, and the metrics they gave."""

    settings: dict[str, Value]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Chart:
    """How points become a plot.

    Attributes:
        kind: lines over `x`, a heat map of `x` by `by`, or bars.
        x: the setting along the axis.
        by: the settings that tell the lines (or bars of one group) apart; of a heat map the one of its rows.
        metric: what is drawn.
        log: the axis is logarithmic.
        fitted: lines only: draw metric = a + b log2(x) through the points, and on to BEYOND times the last.
    """

    kind: str
    x: str
    metric: str
    by: tuple[str, ...] = ()
    log: bool = False
    fitted: bool = False

    def name_series(self, point: Measurement) -> str:
        """Return the line or the bars that a point belongs to."""
        return ", ".join(str(point.settings[name]) for name in self.by)

    @property
    def legend(self) -> str:
        """What tells the series apart, in words."""
        return ", ".join(self.by).replace("_", " ")


KIND = "experiment"
SPREAD = "_spread"


@dataclass(frozen=True)
class ExperimentOutcome:
    """All points of an experiment, with what follows from them and what they were measured on."""

    name: str
    question: str
    points: Sequence[Measurement]
    chart: Chart
    notes: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write points.csv, outcome.json and plot.png as `folder`, whole or not at all."""
        with replace_folder(folder, KIND) as temporary:
            with (temporary / "points.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self.columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(point.settings | point.metrics for point in self.points)
            write_json(temporary / "outcome.json", self.describe())
            (temporary / "plot.png").write_bytes(plot(self.points, self.chart, self.question))

    def describe(self) -> dict[str, Any]:
        """Return it as JSON types."""
        points = [{"settings": point.settings, "metrics": point.metrics} for point in self.points]
        return {"name": self.name, "question": self.question, "points": points, "notes": self.notes}

    @classmethod
    def read(cls, folder: Path, chart: Chart) -> "ExperimentOutcome | None":
        """Read what `write` wrote as `folder`; None where nothing is there."""
        path = folder / "outcome.json"
        if not path.is_file():
            return None
        own = json.loads(path.read_text(encoding="utf-8"))
        points = [Measurement(point["settings"], point["metrics"]) for point in own["points"]]
        return cls(own["name"], own["question"], points, chart, own["notes"])

    def track(self, folder: Path) -> None:
        """Record what `write` wrote as one MLflow run, a step for each point."""
        params = {key: value for key, value in self.notes.items() if not isinstance(value, float)}
        with record_training(f"experiment_{self.name}", params, find_project_root() / "params.yaml") as run:
            for step, point in enumerate(self.points):
                numbers = {key: float(value) for key, value in point.settings.items() if not isinstance(value, str)}
                run.log_metrics(step, point.metrics | numbers)
            run.log_artifact(folder)

    @property
    def columns(self) -> list[str]:
        """Settings, then metrics, in the order in which they first appear."""
        settings = dict.fromkeys(name for point in self.points for name in point.settings)
        metrics = dict.fromkeys(name for point in self.points for name in point.metrics)
        return [*settings, *metrics]


def average_runs(runs: Sequence[Sequence[Measurement]]) -> list[Measurement]:
    """Average points over seeds; of several seeds each metric NAME gets NAME_spread, its standard deviation."""
    averaged = []
    for same in zip(*runs, strict=True):
        by_name = {name: [point.metrics[name] for point in same] for name in same[0].metrics}
        metrics = {name: float(np.mean(values)) for name, values in by_name.items()}
        if len(runs) > 1:
            metrics |= {f"{name}{SPREAD}": float(np.std(values, ddof=1)) for name, values in by_name.items()}
        averaged.append(Measurement(same[0].settings, metrics))
    return averaged


def log_line(points: Sequence[Measurement], x: str, metric: str) -> tuple[float, float]:
    """Return the least squares of metric = a + b log2(x) -> (a, b)."""
    logs = np.log2([float(point.settings[x]) for point in points])
    gain, start = np.polyfit(logs, [point.metrics[metric] for point in points], 1)
    return float(start), float(gain)


def plot(points: Sequence[Measurement], chart: Chart, title: str) -> bytes:
    """Draw the points as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    {"lines": _draw_lines, "heat": _draw_heat_map, "bars": _draw_bars}[chart.kind](axes, points, chart)
    axes.set_title(title, fontsize="medium")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


def _draw_lines(axes: Any, points: Sequence[Measurement], chart: Chart) -> None:
    for name in dict.fromkeys(map(chart.name_series, points)):
        own = [point for point in points if chart.name_series(point) == name]
        xs = [point.settings[chart.x] for point in own]
        axes.plot(xs, [point.metrics[chart.metric] for point in own], marker="o", label=name)
    if chart.fitted:
        start, gain = log_line(points, chart.x, chart.metric)
        xs = [float(point.settings[chart.x]) for point in points]
        ends = [min(xs), BEYOND * max(xs)]
        axes.plot(ends, [start + gain * np.log2(x) for x in ends], "--", color="gray", label="fit")
    if chart.log:
        axes.set_xscale("log")
    axes.set(xlabel=chart.x.replace("_", " "), ylabel=chart.metric.replace("_", " "))
    axes.grid(alpha=0.3)
    if chart.by:
        axes.legend(title=chart.legend, frameon=False)


def _draw_heat_map(axes: Any, points: Sequence[Measurement], chart: Chart) -> None:
    xs = sorted({float(point.settings[chart.x]) for point in points})
    (by,) = chart.by
    ys = sorted({float(point.settings[by]) for point in points})
    found = {(float(it.settings[by]), float(it.settings[chart.x])): it.metrics[chart.metric] for it in points}
    image = axes.imshow([[found[y, x] for x in xs] for y in ys], origin="lower", aspect="auto", cmap="viridis")
    middle = (min(found.values()) + max(found.values())) / 2
    for (y, x), value in found.items():
        colour = "white" if value < middle else "black"
        place = (xs.index(x), ys.index(y))
        axes.text(*place, f"{100 * value:.1f}", ha="center", va="center", color=colour, fontsize="small")
    axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
    axes.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
    axes.set(xlabel=chart.x, ylabel=by)
    axes.figure.colorbar(image, ax=axes, label=chart.metric.replace("_", " "))


def _draw_bars(axes: Any, points: Sequence[Measurement], chart: Chart) -> None:
    groups = list(dict.fromkeys(str(point.settings[chart.x]) for point in points))
    series = list(dict.fromkeys(map(chart.name_series, points)))
    width = 0.84 / len(series)
    for place, name in enumerate(series):
        own = [point for point in points if chart.name_series(point) == name]
        starts = [groups.index(str(point.settings[chart.x])) - 0.42 + (place + 0.5) * width for point in own]
        axes.bar(starts, [point.metrics[chart.metric] for point in own], width, label=name)
    axes.set_xticks(range(len(groups)), groups)
    axes.set(ylabel=chart.metric.replace("_", " "))
    axes.grid(axis="y", alpha=0.3)
    if chart.by:
        axes.legend(title=chart.legend, frameon=False)
