"""`compodiff compare`: methods of composed retrieval in one table, trained where they have to be."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compodiff.cli.options import Rerank, RerankTop, open_reranking
from compodiff.cli.output import Column, echo, print_table
from compodiff.errors import InputInvalid
from compodiff.project import find_project_root

if TYPE_CHECKING:
    from compodiff.experiments.outcome import Measurement

OUT = Path("artifacts", "experiments", "compare")

app = typer.Typer()


@app.command("compare")
def compare(
    *,
    methods: Annotated[
        str, typer.Option(help="Names with commas between; the first is what others are compared with. Default: all.")
    ] = "",
    benchmarks: Annotated[str, typer.Option(help="Names in params.yaml with commas between. Default: all.")] = "",
    split: Annotated[str, typer.Option(help="validation (to choose by) or test (to report).")] = "validation",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each method.")] = 1,
    training_steps: Annotated[
        int | None, typer.Option(min=1, help="Updates of each stage. Default: those of params.yaml.")
    ] = None,
    training_seconds: Annotated[
        float | None, typer.Option(min=1, help="The same time for each training, in the place of steps.")
    ] = None,
    rerank: Rerank = None,
    rerank_top: RerankTop = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    out: Annotated[Path | None, typer.Option(help=f"Folder for table and plot. Default: {OUT}.")] = None,
    track: Annotated[bool, typer.Option("--track/--no-track", help="Record the points in MLflow.")] = True,
) -> None:
    """Train what is missing, ask all methods the same queries, and print recalls, costs and paired differences."""
    from compodiff.experiments.compare import CompareSetup, compare_methods, make_outcome
    from compodiff.experiments.methods import find_methods
    from compodiff.experiments.outcome import KIND
    from compodiff.params import load_params
    from compodiff.storage.ownership import require_replaceable_folder

    if training_steps is not None and training_seconds is not None:
        raise InputInvalid("give one of --training-steps and --training-seconds")
    project = find_project_root()
    chosen, folder = find_methods(_split("--methods", methods)), out or project / OUT
    require_replaceable_folder(folder, KIND)
    names = _split("--benchmarks", benchmarks) or list(load_params(project / "params.yaml").benchmarks)
    setup = CompareSetup.of_project(project, names, split, training_steps, training_seconds, seeds)
    setup = dataclasses.replace(setup, reranking=open_reranking(rerank, rerank_top))
    points = []
    for point in compare_methods(setup, chosen):
        points.append(point)
        echo(f"{point.settings['method']} on {point.settings['benchmark']} is measured", err=True)
    outcome = make_outcome(setup, points, {name: method.source for name, method in chosen.items()})
    outcome.write(folder)
    if as_json:
        typer.echo(json.dumps(outcome.describe(), indent=2, allow_nan=False))
    else:
        for name in names:
            _print(f"{name} {split}", [point for point in points if point.settings["benchmark"] == name])
        echo(f"table and plot: {folder}")
    if track:
        outcome.track(folder)


def _split(option: str, given: str) -> list[str]:
    """Return the names of an option; none where it was not given.

    Raises:
        InputInvalid: it was given and holds none, which must not stand for all: that may be hours of training.
    """
    names = [name.strip() for name in given.split(",") if name.strip()]
    if given and not names:
        raise InputInvalid(f"{option} is {given!r} and names none; write names with commas between, or leave it out")
    return names


def _print(title: str, points: "list[Measurement]") -> None:
    """Print a row for each method: per cent with intervals, gains over the first row, and costs."""
    from compodiff.experiments.compare import pick_metrics

    metrics = pick_metrics(points[0].metrics)
    columns: list[Column] = [("method", "left")]
    columns += [(f"{name.replace('_', ' ')}{kind}", "right") for name in metrics for kind in ("", " gain")]
    columns += [(name, "right") for name in ("parameters", "training s", "ms a query", "MB")]
    rows = []
    for point in points:
        it = point.metrics
        cells = [cell for name in metrics for cell in (_render(it, name), _render(it, f"{name}_gain", sign="+"))]
        costs = (f"{it['parameters']:,.0f}", f"{it['training_seconds']:,.0f}", f"{it['milliseconds_per_query']:.2f}")
        rows.append((str(point.settings["method"]), *cells, *costs, f"{it['megabytes']:,.0f}"))
    print_table(columns, rows, title=f"{title}, per cent (95 % interval)", has_lines=False)


def _render(metrics: dict[str, float], name: str, sign: str = "") -> str:
    value, low, high = (100 * metrics[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{value:{sign}.1f} ({low:{sign}.1f} {high:{sign}.1f})"
