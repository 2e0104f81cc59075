"""`compodiff experiment NAME`: the paper's first experiments and its open questions, one command each."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compodiff.cli.output import Column, echo, print_table
from compodiff.project import find_project_root

if TYPE_CHECKING:
    from compodiff.experiments.outcome import ExperimentOutcome, Measurement
    from compodiff.experiments.registry import Experiment

ALL = "all"
EXPERIMENTS = (
    "steps-solver, draws, guidance, conditions, preservation, task-mix, data-scale, text-encoder, domain-transfer, "
    f"objective or distillation; or {ALL}: each that is not yet of the present models"
)
OUT = Path("artifacts", "experiments")


app = typer.Typer()


@app.command("experiment")
def run_experiment(
    name: Annotated[str, typer.Argument(help=EXPERIMENTS)],
    *,
    benchmark: Annotated[
        str | None,
        typer.Option(help="A name in params.yaml (default: what suits); with --root any of `benchmark run`."),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of a benchmark that params.yaml does not name.")] = None,
    split: Annotated[
        str, typer.Option(help="Of a benchmark of params.yaml: validation (to choose by) or test (to report).")
    ] = "validation",
    training_steps: Annotated[
        int, typer.Option(min=1, help="Updates of each training, in experiments that train.")
    ] = 500,
    seeds: Annotated[
        int, typer.Option(min=1, help="How often each point is measured, with other seeds: mean and spread.")
    ] = 3,
    out: Annotated[Path | None, typer.Option(help=f"Folder for table and plot. Default: {OUT}/NAME.")] = None,
    document: Annotated[
        Path | None, typer.Option(help=f"Of `{ALL}`: a Markdown page whose section of figures is made anew.")
    ] = None,
    track: Annotated[bool, typer.Option("--track/--no-track", help="Record the points in MLflow.")] = True,
) -> None:
    """Answer one question by measurement: points.csv, outcome.json, plot.png, and a run in MLflow."""
    from compodiff.errors import InputInvalid
    from compodiff.experiments.outcome import KIND
    from compodiff.experiments.registry import EXPERIMENTS, find_experiment
    from compodiff.experiments.setup import ExperimentSetup
    from compodiff.experiments.tables import write_figures
    from compodiff.storage.ownership import require_replaceable_folder

    if document is not None and name != ALL:
        raise InputInvalid(f"--document has the figures of all experiments; run: compodiff experiment {ALL}")
    project = find_project_root()
    chosen = EXPERIMENTS if name == ALL else {name: find_experiment(name)}
    outcomes = []
    for own, experiment in chosen.items():
        folder = out / own if out and name == ALL else out or project / OUT / own
        require_replaceable_folder(folder, KIND)
        setup = ExperimentSetup.of_project(project, benchmark or experiment.benchmark, root, split, training_steps)
        outcome = experiment.read_current(folder, setup, seeds) if name == ALL else None
        if outcome is None:
            outcome = experiment.run(own, setup, seeds, _tell(experiment))
            outcome.write(folder)
            if track:
                outcome.track(folder)
        _print(outcome)
        echo(f"table and plot: {folder}")
        outcomes.append(outcome)
    if document is not None:
        write_figures(document, outcomes)


def _tell(experiment: "Experiment") -> Callable[["Measurement"], None]:
    def show(point: "Measurement") -> None:
        settings = ", ".join(f"{key} {value}" for key, value in point.settings.items())
        echo(f"{settings}: {experiment.chart.metric} {point.metrics[experiment.chart.metric]:.4f}")

    return show


def _print(outcome: "ExperimentOutcome") -> None:
    from compodiff.experiments.tables import tabulate

    heads, rows, settings = tabulate(outcome)
    columns: list[Column] = [(name, "left" if place < settings else "right") for place, name in enumerate(heads)]
    print_table(columns, rows, title=f"{outcome.question} (recall in per cent)")
