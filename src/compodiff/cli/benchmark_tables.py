"""What `compodiff benchmark` prints of a result."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compodiff.cli.output import echo, print_table

_HEADLINE = "recall_at_10"
_SHOWN_PARTS = 6  # columns; a benchmark may have hundreds

if TYPE_CHECKING:
    from compodiff.benchmarks.report.comparison import Comparison


def print_scores(title: str, result: dict[str, Any]) -> None:
    """Print metrics down; each part, all of them, and the interval across, per cent."""
    parts: dict[str, Any] = result.get("parts", {})
    if len(parts) > _SHOWN_PARTS:
        parts = {}
    rows = []
    for metric, value in result["metrics"].items():
        low, high = result["intervals"][metric]
        own = [f"{100 * part[metric]:.2f}" for part in parts.values()]
        rows.append((metric, *own, f"{100 * value:.2f}", f"{100 * low:.2f} - {100 * high:.2f}"))
    names = (*parts, "all" if "parts" in result else "score", "95 % interval")
    print_table([("metric", "left"), *((name, "right") for name in names)], rows, title=title)
    details = result["record"]
    echo(f"{details['queries']} queries, gallery {details['gallery']} ({details['gallery_variant']})")
    if details["pictures_not_of_the_benchmark"]:
        echo(f"{details['pictures_not_of_the_benchmark']} embeddings are of other pictures and were not ranked")
    _print_parts_left_out(details)
    _print_spread(result)
    left_out = details["skipped_queries"] + details.get("queries_without_reference", 0)
    if details["missing_pictures"] or left_out:
        echo(f"{details['missing_pictures']} pictures missing, {left_out} queries left out")


def print_comparison(title: str, comparison: "Comparison") -> None:
    """Print metrics down, rows across, per cent; the composed row with its interval."""
    from compodiff.benchmarks.report.comparison import COMPOSED

    summaries = comparison.summaries
    rows = []
    for metric, (low, high) in summaries[COMPOSED]["intervals"].items():
        cells = [f"{100 * summary['metrics'][metric]:.2f}" for summary in summaries.values()]
        rows.append((metric.replace("_", " "), *cells, f"{100 * low:.2f} - {100 * high:.2f}"))
    names = (*(row.replace("_", " ") for row in summaries), "95 % interval")
    print_table([("per cent", "left"), *((name, "right") for name in names)], rows, title=title)
    record = comparison.record
    left_out = record["skipped_queries"] + record["queries_without_reference"]
    echo(f"{record['queries']} queries, gallery {record['gallery']}; {record['missing_pictures']} pictures missing")
    if left_out:
        echo(f"{left_out} queries left out, whose reference or targets are missing")
    _print_parts_left_out(record)
    _print_spread(summaries[COMPOSED])
    gaps = comparison.measure_composition_gap()
    if gaps:
        metric = _HEADLINE if _HEADLINE in gaps else next(iter(gaps))
        low, high = (100 * end for end in gaps[metric]["interval"])
        told = f"{100 * gaps[metric]['gap']:+.2f} ({low:+.2f} to {high:+.2f}) against {gaps[metric]['against']}"
        echo(f"composition gap, {metric.replace('_', ' ')}: {told.replace('_', ' ')}")


def print_missing(record: Mapping[str, Any], instead: str) -> None:
    """Print what was missing where embeddings or a submission were written, and what becomes of such queries."""
    if missing := record["missing_pictures"]:
        named = ", ".join(record["missing_picture_names"][:3])
        echo(f"{missing} pictures missing ({named} ...), {record['queries_without_reference']} queries {instead}")
    _print_parts_left_out(record)


def _print_parts_left_out(record: Mapping[str, Any]) -> None:
    left_out = record.get("parts_left_out", ())
    if left_out:
        echo(f"{len(left_out)} parts left out, none of whose answers is there: {', '.join(left_out[:3])} ...")


def _print_spread(summary: Mapping[str, Any]) -> None:
    """Print by how much a metric differs over paraphrases, where queries have any."""
    spread = summary.get("paraphrases", {"range": {}})
    metric = next((name for name in ("map_at_10", _HEADLINE) if name in spread["range"]), None)
    if metric:
        told = f"{100 * spread['range'][metric]:.2f} from the best to the worst wording, mean of {spread['intents']}"
        echo(f"spread over paraphrases, {metric.replace('_', ' ')}: {told}")
