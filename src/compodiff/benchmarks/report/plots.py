"""Plots of a result as PNG bytes."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

COLOURS = {
    "image_only": "#9aa5b1",
    "text_only": "#c3b299",
    "sum": "#7fb3a6",
    "product": "#6b8fb5",
    "prior": "#c98bb0",
    "composed": "#d1495b",
}


def plot_groups(rows: Mapping[str, Mapping[str, Any]], metric: str, groups: Sequence[str]) -> bytes:
    """Return bars of `metric` for each group, one colour a row of the result.

    Args:
        rows: row name -> its summary, with `groups`.
        metric: such as recall_at_10.
        groups: which groups, in this order; the number of their queries stands under their name.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 1.4 * len(groups) + 2), 4.2), layout="constrained")
    axes = figure.add_subplot()
    width = 0.84 / len(rows)
    for place, (name, row) in enumerate(rows.items()):
        heights = [row["groups"][group][metric] for group in groups]
        starts = [column - 0.42 + (place + 0.5) * width for column in range(len(groups))]
        axes.bar(starts, heights, width, label=name.replace("_", " "), color=COLOURS.get(name))
    counts = next(iter(rows.values()))["groups"]
    axes.set_xticks(range(len(groups)), [f"{group.replace('_', ' ')}\n{counts[group]['queries']}" for group in groups])
    axes.set(ylim=(0, 1), ylabel=metric.replace("_", " "))
    return _save_png(figure)


def plot_intervals(rows: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]) -> bytes:
    """Return bars of several metrics over all queries, with their confidence intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 1.6 * len(metrics) + 2), 3.6), layout="constrained")
    axes = figure.add_subplot()
    width = 0.84 / len(rows)
    for place, (name, row) in enumerate(rows.items()):
        heights = [row["metrics"][metric] for metric in metrics]
        low = [height - row["intervals"][metric][0] for metric, height in zip(metrics, heights, strict=True)]
        high = [row["intervals"][metric][1] - height for metric, height in zip(metrics, heights, strict=True)]
        starts = [column - 0.42 + (place + 0.5) * width for column in range(len(metrics))]
        errors = [[max(0.0, value) for value in low], [max(0.0, value) for value in high]]
        axes.bar(starts, heights, width, yerr=errors, capsize=2, label=name.replace("_", " "), color=COLOURS.get(name))
    axes.set_xticks(range(len(metrics)), [metric.replace("_", " ") for metric in metrics])
    axes.set(ylim=(0, 1))
    return _save_png(figure)


def _save_png(figure: Any) -> bytes:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=6, frameon=False, fontsize="small")
    stream = io.BytesIO()
    # No software version in the file: the same result gives the same bytes.
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()
