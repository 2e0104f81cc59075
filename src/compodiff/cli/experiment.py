"""`compodiff experiment NAME`: the paper's first experiments and its open questions, one command each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compodiff.cli.output import Column, echo, print_table
from compodiff.project import find_project_root

if TYPE_CHECKING:
    from compodiff.experiments.outcome import ExperimentOutcome, Measurement

EXPERIMENTS = (
    "steps-solver, draws, guidance, conditions, task-mix, data-scale, text-encoder, domain-transfer, objective or "
    "distillation"
)
OUT = Path("artifacts", "experiments")
SHOWN = ("recall_at_1", "recall_at_10", "map_at_5", "seconds_per_query", "text_to_image_recall_at_1")


app = typer.Typer()


@app.command("experiment")
def run_experiment(
    name: Annotated[str, typer.Argument(help=EXPERIMENTS)],
    *,
    benchmark: Annotated[
        str | None,
        typer.Option(help="A name in params.yaml (default: the index's gallery); with --root any of `benchmark run`."),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of a benchmark that params.yaml does not name.")] = None,
    split: Annotated[
        str, typer.Option(help="Of a benchmark of params.yaml: validation (to choose by) or test (to report).")
    ] = "validation",
    training_steps: Annotated[
        int, typer.Option(min=1, help="Updates of each training, in experiments that train.")
    ] = 500,
    out: Annotated[Path | None, typer.Option(help=f"Folder for table and plot. Default: {OUT}/NAME.")] = None,
    track: Annotated[bool, typer.Option("--track/--no-track", help="Record the points in MLflow.")] = True,
) -> None:
    """Answer one question by measurement: points.csv, outcome.json, plot.png, and a run in MLflow."""
    from compodiff.experiments.outcome import KIND
    from compodiff.experiments.registry import find_experiment
    from compodiff.experiments.setup import ExperimentSetup
    from compodiff.storage.ownership import require_replaceable_folder

    chosen = find_experiment(name)
    folder = out or find_project_root() / OUT / name
    require_replaceable_folder(folder, KIND)
    setup = ExperimentSetup.of_project(find_project_root(), benchmark, root, split, training_steps)

    def show(point: "Measurement") -> None:
        settings = ", ".join(f"{key} {value}" for key, value in point.settings.items())
        echo(f"{settings}: {chosen.chart.metric} {point.metrics[chosen.chart.metric]:.4f}")

    outcome = chosen.run(name, setup, show)
    outcome.write(folder)
    _print(outcome)
    echo(f"table and plot: {folder}")
    if track:
        outcome.track(folder)


def _print(outcome: "ExperimentOutcome") -> None:
    metrics = [name for name in outcome.columns if name in SHOWN]
    settings = list(dict.fromkeys(name for point in outcome.points for name in point.settings))
    rows = []
    for point in outcome.points:
        own = [str(point.settings.get(name, "")) for name in settings]
        rows.append((*own, *(f"{point.metrics[name]:.4f}" if name in point.metrics else "" for name in metrics)))
    columns: list[Column] = [
        (name.replace("_", " "), "right" if name in metrics else "left") for name in (*settings, *metrics)
    ]
    print_table(columns, rows, title=outcome.question)
