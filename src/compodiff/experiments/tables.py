"""The figures of experiments as a section of a Markdown page, so that a page is never of another model than its table.

The section stands between the lines BEGIN and END of the page.
"""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from compodiff.errors import InputInvalid
from compodiff.experiments.outcome import BEYOND, SPREAD, ExperimentOutcome, Measurement
from compodiff.experiments.setup import MODELS
from compodiff.storage.atomic import replace_path

BEGIN, END = "<!-- figures of experiments: begin -->", "<!-- figures of experiments: end -->"
SHOWN = {  # metric -> its heading, and what it is multiplied by
    "recall_at_1": ("R@1", 100.0),
    "recall_at_10": ("R@10", 100.0),
    "map_at_5": ("mAP@5", 100.0),
    "kept": ("kept", 100.0),
    "arrived": ("arrived", 100.0),
    "text_to_image_recall_at_1": ("text to image R@1", 100.0),
    "seconds_per_query": ("ms a query", 1000.0),
}
_WIDTH = 120


def write_figures(page: Path, outcomes: Sequence[ExperimentOutcome]) -> None:
    """Replace the section of `page` by the figures of these experiments.

    Raises:
        InputInvalid: the page is not there, or has no such section.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputInvalid(f"{page} has no lines {BEGIN} and {END}; the figures would stand between them")
    with replace_path(page) as temporary:
        temporary.write_text(f"{before}{begin}\n\n{render_figures(outcomes)}{end}{after}", encoding="utf-8")


def render_figures(outcomes: Sequence[ExperimentOutcome]) -> str:
    """Render what the experiments stand on, then each with its question, command, table and what follows from it."""
    first = outcomes[0].notes
    digests = ", ".join(f"{name} `{first['models'][name]}`" for name in MODELS)
    about = (
        f"Of the models of dvc.lock: {digests}; {first['seeds']} seeds, mean ± standard deviation; recall in per cent. "
        f"On one {first['processor']}. Where nothing is trained, seeds are those of the sampler's noise."
    )
    return "\n".join([fill(about, _WIDTH, break_on_hyphens=False), "", *map(_render, outcomes)])


def _render(outcome: ExperimentOutcome) -> str:
    notes = outcome.notes
    trained = f", trainings of {notes['training_steps']:,} updates" if "training_steps" in notes else ""
    about = (
        f"`compodiff experiment {outcome.name}`: {notes['queries']:,} queries of {notes['benchmark']}{trained}; "
        f"{notes['seconds']:,.0f} s. {_conclude(outcome)}"
    )
    table = _pivot(outcome) if outcome.chart.kind == "heat" else _make_table(*tabulate(outcome)[:2])
    return "\n".join([f"### {outcome.question}", "", fill(about, _WIDTH, break_on_hyphens=False), "", *table, ""])


def _conclude(outcome: ExperimentOutcome) -> str:
    notes, metric = outcome.notes, outcome.chart.metric
    name, factor = SHOWN[metric]
    if "best" in notes:
        settings = ", ".join(f"{key.replace('_', ' ')} {notes['best'][key]}" for key in outcome.points[0].settings)
        return f"Best in {name}: {settings}."
    return (
        f"Each doubling gains {factor * notes['gain_per_doubling']:.1f} points of {name}; the line through the points, "
        f"off by up to {factor * notes['largest_residual']:.1f}, has "
        f"{factor * notes[f'{metric}_at_ten_times_the_data']:.1f} at {BEYOND} times the largest."
    )


def tabulate(outcome: ExperimentOutcome) -> tuple[list[str], list[list[str]], int]:
    """Return headings, a row for each point, and how many of the columns are settings."""
    settings = list(dict.fromkeys(name for point in outcome.points for name in point.settings))
    metrics = [name for name in SHOWN if name in outcome.columns]
    rows = [
        [*(str(point.settings.get(name, "")) for name in settings), *(_format(point, name) for name in metrics)]
        for point in outcome.points
    ]
    heads = [*(name.replace("_", " ") for name in settings), *(SHOWN[name][0] for name in metrics)]
    return heads, rows, len(settings)


def _pivot(outcome: ExperimentOutcome) -> list[str]:
    chart = outcome.chart
    (by,) = chart.by
    xs = list(dict.fromkeys(point.settings[chart.x] for point in outcome.points))
    cells = {(point.settings[by], point.settings[chart.x]): _format(point, chart.metric) for point in outcome.points}
    ys = list(dict.fromkeys(point.settings[by] for point in outcome.points))
    rows = [[str(y), *(cells[y, x] for x in xs)] for y in ys]
    return _make_table([f"{SHOWN[chart.metric][0]}: {by} down, {chart.x} across", *map(str, xs)], rows)


def _format(point: Measurement, metric: str) -> str:
    if metric not in point.metrics:
        return ""
    factor, spread = SHOWN[metric][1], point.metrics.get(f"{metric}{SPREAD}")
    return f"{factor * point.metrics[metric]:.1f}" + ("" if spread is None else f" ± {factor * spread:.1f}")


def _make_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
