"""`compodiff experiment NAME`: the paper's first experiments and its open questions, one command each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compodiff.cli.output import Column, echo, print_table
from compodiff.project import project_root

if TYPE_CHECKING:
    from compodiff.experiments.embedded_benchmark import Bench
    from compodiff.experiments.outcome import Outcome
    from compodiff.experiments.setup import Ground
    from compodiff.params import Params

EXPERIMENTS = (
    "steps-solver, draws, guidance, conditions, task-mix, data-scale, text-encoder, domain-transfer, objective or "
    "distillation"
)
OUT = Path("artifacts", "experiments")
SHOWN = ("recall_at_1", "recall_at_10", "map_at_5", "seconds_per_query", "text_to_image_recall_at_1")


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("experiment")(experiment)


def experiment(
    name: Annotated[str, typer.Argument(help=EXPERIMENTS)],
    *,
    benchmark: Annotated[str, typer.Option(help="emoji (the pipeline's own) or any of `benchmark run`.")] = "emoji",
    root: Annotated[Path | None, typer.Option(help="The benchmark's folder, where it is not emoji.")] = None,
    split: Annotated[str, typer.Option(help="Of emoji: validation (to choose by) or test (to report).")] = "validation",
    training_steps: Annotated[
        int, typer.Option(min=1, help="Updates of each training, in experiments that train.")
    ] = 500,
    out: Annotated[Path | None, typer.Option(help=f"Folder for table and plot. Default: {OUT}/NAME.")] = None,
    track: Annotated[bool, typer.Option("--track/--no-track", help="Record the points in MLflow.")] = True,
) -> None:
    """Answer one question by measurement: points.csv, outcome.json, plot.png, and a run in MLflow."""
    from compodiff.experiments.outcome import KIND, Outcome
    from compodiff.experiments.registry import experiment_of
    from compodiff.storage.ownership import require_replaceable_folder

    chosen = experiment_of(name)
    folder = out or project_root() / OUT / name
    require_replaceable_folder(folder, KIND)
    ground = _ground(benchmark, root, split, training_steps)
    points = []
    for point in chosen.measure(ground):
        points.append(point)
        settings = ", ".join(f"{key} {value}" for key, value in point.settings.items())
        echo(f"{settings}: {chosen.chart.metric} {point.metrics[chosen.chart.metric]:.4f}")
    notes = {
        "benchmark": ground.bench.name,
        "queries": ground.bench.queries,
        "sampling": ground.params.sampling.model_dump(),
        **({"training_steps": training_steps} if chosen.trains else {}),
        **chosen.notes(points, chosen.chart.metric),
    }
    outcome = Outcome(name, chosen.question, points, chosen.chart, notes)
    outcome.write(folder)
    _print(outcome)
    echo(f"table and plot: {folder}")
    if track:
        _track(outcome, folder)


def _ground(benchmark: str, root: Path | None, split: str, training_steps: int) -> "Ground":
    from compodiff.embeddings import Embeddings
    from compodiff.errors import InputInvalid
    from compodiff.experiments.embedded_benchmark import EMOJI, emoji_bench
    from compodiff.experiments.setup import ARTIFACTS, Ground
    from compodiff.params import load_params

    project = project_root()
    params = load_params(project / "params.yaml")
    artifacts = project / ARTIFACTS
    embeddings = Embeddings.load(artifacts / "embeddings")
    if benchmark == EMOJI:
        bench = emoji_bench(artifacts / "benchmark", embeddings, split, params.evaluation.chunk)
    elif root is None:
        raise InputInvalid(f"where is {benchmark}? name its folder with --root")
    else:
        bench = _field_bench(benchmark, root, artifacts, params)
    work = artifacts / "experiments" / "models"
    return Ground(project, params, embeddings, bench, benchmark == EMOJI, split, training_steps, work)


def _field_bench(name: str, root: Path, artifacts: Path, params: "Params") -> "Bench":
    from compodiff.benchmarks.datasets.loading import Choices, load_benchmark
    from compodiff.encoders import load_encoder
    from compodiff.experiments.embedded_benchmark import field_bench

    parts = load_benchmark(name, root, None, Choices())
    cache = artifacts / "benchmark_embeddings"
    return field_bench(
        parts, load_encoder(artifacts / "encoder").for_many(), cache, params.embedding, params.evaluation.chunk
    )


def _print(outcome: "Outcome") -> None:
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


def _track(outcome: "Outcome", folder: Path) -> None:
    """One MLflow run, a step for each point."""
    from compodiff.tracking.runs import training_run

    params = {key: value for key, value in outcome.notes.items() if not isinstance(value, float)}
    with training_run(f"experiment_{outcome.name}", params, project_root() / "params.yaml") as run:
        for step, point in enumerate(outcome.points):
            numbers = {key: float(value) for key, value in point.settings.items() if not isinstance(value, str)}
            run.log_metrics(step, point.metrics | numbers)
        run.log_artifact(folder)
