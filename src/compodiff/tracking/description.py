"""What stands beside a registered version in MLflow: its figures, its dials, and what it was made from."""

from collections.abc import Iterator, Mapping
from typing import Any

_ROWS = ("composed", "sum", "image_only", "text_only")
_SHOWN = ("recall_at_1", "recall_at_10", "map_at_10", "kept", "arrived")


def describe_version(
    figures: Mapping[str, Mapping[str, Any]], dials: Mapping[str, Any], tags: Mapping[str, str]
) -> str:
    """Return a card in Markdown.

    Args:
        figures: benchmark -> row -> metric -> value, with `intervals`.
        dials: how the model is asked.
        tags: what it was made from.
    """
    parts = [
        "Composed image retrieval: of a picture and a change in words it makes an embedding; the pictures near it are "
        "the answers. Per cent, with 95 % intervals; the reports are artifacts of the run.",
        *(_render_benchmark(name, rows) for name, rows in figures.items()),
        "Dials: " + ", ".join(f"{name} {value}" for name, value in sorted(dials.items()) if value is not None) + ".",
        "Made from: " + ", ".join(f"{name} `{value[:12]}`" for name, value in sorted(tags.items())) + ".",
    ]
    return "\n\n".join(parts)


def _render_benchmark(name: str, rows: Mapping[str, Any]) -> str:
    shown = {row: rows[row] for row in _ROWS if isinstance(rows.get(row), Mapping)}
    metrics = [metric for metric in _SHOWN if any(metric in row for row in shown.values())]
    lines = [
        f"| {name} | {' | '.join(metric.replace('_', ' ') for metric in metrics)} |",
        "|---" * (len(metrics) + 1) + "|",
    ]
    lines += [
        f"| {row.replace('_', ' ')} | {' | '.join(_render_cells(figures, metrics))} |" for row, figures in shown.items()
    ]
    return "\n".join(lines)


def _render_cells(figures: Mapping[str, Any], metrics: list[str]) -> Iterator[str]:
    for metric in metrics:
        ends = figures.get("intervals", {}).get(metric)
        interval = f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})" if ends else ""
        yield f"{100 * figures[metric]:.1f}{interval}" if metric in figures else ""


def list_numbers(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield each figure under its name, such as emoji/composed/recall_at_10."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from list_numbers(value, f"{prefix}{name}/")
        elif isinstance(value, list):  # the ends of an interval
            yield from zip((f"{prefix}{name}/low", f"{prefix}{name}/high"), map(float, value), strict=True)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)
