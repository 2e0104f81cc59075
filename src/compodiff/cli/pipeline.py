"""`compodiff run STAGE` and `compodiff data`: the steps of the pipeline, one at a time."""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compodiff.cli.output import Column, echo, print_table
from compodiff.errors import InputInvalid
from compodiff.project import find_project_root
from compodiff.search.locate import CHAMPION

if TYPE_CHECKING:
    from compodiff.params import Params

_COLUMNS: tuple[Column, ...] = (
    ("benchmark", "left"),
    ("figure", "left"),
    ("before", "right"),
    ("after", "right"),
    ("gate", "left"),
)
app = typer.Typer()


@app.command("run")
def run(
    stage: Annotated[str, typer.Argument(help="A stage of dvc.yaml, such as train_prior; or distill.")],
    preset: Annotated[
        str | None,
        typer.Option(help="A file of infra/params, such as paper: run it in presets/NAME.", show_default=False),
    ] = None,
) -> None:
    """Run one stage of the pipeline with params.yaml, as `dvc repro` does."""
    # A training step is thousands of short products: threads that spin for some 20 microseconds at their ends before
    # they sleep make it 1.4 times as fast on two cores. Read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    from compodiff.execution.jobs import KUBERNETES, find_cluster
    from compodiff.execution.on_slurm import run_as_job
    from compodiff.execution.training_processes import TRAININGS, start_workers
    from compodiff.params import load_params
    from compodiff.stages.declaration import run_stage
    from compodiff.watching.tracing import start_tracing, trace_block

    project = find_project_root()
    if preset is not None:
        from compodiff.stages.preset import enter_preset

        project = enter_preset(project, preset)
    if cluster := find_cluster(stage):
        hours = load_params(project / "params.yaml").time_limits.find_hours(stage)
        if cluster == KUBERNETES:  # Prefect submits it and waits, in this process's place
            os.chdir(project)
            os.execv(sys.executable, [sys.executable, "-m", "flows.stage_job", stage, str(hours)])  # noqa: S606
        run_as_job([sys.executable, "-m", "compodiff.cli", "run", stage], project, name=stage, hours=hours)
        return
    if stage.partition("@")[0] in TRAININGS and start_workers(["run", stage], project):
        return
    start_tracing("compodiff-stages")
    with trace_block(f"stage {stage}", {"stage": stage}):
        run_stage(stage, project)


@app.command("finetune")
def run_finetuning(
    *,
    name: Annotated[str, typer.Option("--set", help="A set of params.yaml with triplets: what is learned now.")],
    model: Annotated[str, typer.Option("--from", help="An alias, or a folder with composed/ and encoder/.")] = CHAMPION,
    kept: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of a batch of the sets of `finetuning.tasks`. Default: `finetuning.kept`.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Default: `finetuning.steps`.", show_default=False)] = None,
    to: Annotated[Path | None, typer.Option(help="Default: artifacts/finetuned/NAME.", show_default=False)] = None,
    score: Annotated[
        bool, typer.Option("--score/--no-score", help="Score it on the benchmarks of params.yaml.")
    ] = True,
) -> None:
    """Train a model further on a set of your own, keeping what it knew; the result is a folder for --model.

    The set and those that are kept are validated first: dvc repro validate@NAME. `compodiff register` makes the result
    the challenger, and `compodiff promote` puts it to the gate.
    """
    from compodiff.execution.training_processes import start_workers
    from compodiff.params import load_params
    from compodiff.search.locate import find_model_parts
    from compodiff.stages import finetune
    from compodiff.stages.finetuned import FinetunedScores

    project = find_project_root()
    params = load_params(project / "params.yaml")
    if name not in params.sets:
        raise InputInvalid(f"params.yaml has no set {name!r}; it has: {', '.join(params.sets)}")
    training = finetune.plan_finetuning(params.finetuning, name, kept=kept, steps=steps)
    folder = (to or project / "artifacts" / "finetuned" / name).absolute()
    parts = find_model_parts(model)
    artifacts = project / "artifacts"
    scores = FinetunedScores(artifacts, [*params.benchmarks] if score else [], params.evaluation, params.sampling)
    scores.require_benchmarks(parts.composed)
    again = ["finetune", "--set", name, "--from", str(parts.folder.absolute()), "--to", str(folder), "--no-score"]
    again += ["--steps", str(training.steps), *([] if kept is None else ["--kept", str(kept)])]
    if not start_workers(again, project):
        finetune.finetune_model(
            training,
            name,
            composed=parts.composed,
            encoder=parts.encoder,
            embeddings=artifacts / "embeddings",
            validated=artifacts / "validation",
            to=folder,
        )
    if os.environ.get("RANK", "0") != "0":
        return
    figures = scores.score(folder, parts.composed, parts.encoder)
    _show_scores(figures, params)
    if figures or "RANK" not in os.environ:  # else the process that started this one says it
        echo(f"{folder}: use it with --model, or register it: compodiff register {shlex.quote(str(folder))}")


def _show_scores(figures: Mapping[str, Mapping[str, Any]], params: "Params") -> None:
    """Print each benchmark's figure before and after, and what the gate has against the model."""
    from compodiff.benchmarks.report.comparison import COMPOSED
    from compodiff.stages.finetuned import BEFORE
    from compodiff.tracking.description import list_numbers
    from compodiff.tracking.gate import Model, list_objections

    if not figures:
        return
    rows = []
    for name, methods in figures.items():
        gate = params.finetuned_gates.get(name)
        judged = gate.figure if gate else next(each for each in methods[COMPOSED] if "_at_" in each)
        of_rows = (f"{methods[row][judged]:.3f}" for row in (BEFORE, COMPOSED))
        rows.append((name, judged, *of_rows, "measured only" if gate is None else f"at least {gate.floor:g}"))
    print_table(_COLUMNS, rows, has_lines=False)
    numbers, queries = dict(list_numbers(figures)), params.evaluation.min_relation_queries
    for objection in list_objections(Model(numbers, {}), None, params.finetuned_gates, min_relation_queries=queries):
        echo(f"the gate would refuse it: {objection}", err=True)


@app.command("data")
def build_data() -> None:
    """Build data/ (pictures, names and relations) from the pinned packages."""
    from compodiff.catalogue.build import build_catalogue
    from compodiff.params import load_params

    root = find_project_root()
    build_catalogue(root / "data", load_params(root / "params.yaml").data)
