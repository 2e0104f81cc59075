"""`compodiff run STAGE` and `compodiff data`: the steps of the pipeline, one at a time."""

import os
from pathlib import Path
from typing import Annotated

import typer

from compodiff.cli.output import echo
from compodiff.errors import InputInvalid
from compodiff.project import find_project_root
from compodiff.search.locate import CHAMPION

TRAININGS = ("train_prior", "train_composed", "distill")  # stages that use every GPU of the machine

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
    from compodiff.execution.training_processes import start_workers
    from compodiff.stages.declaration import run_stage

    project = find_project_root()
    if preset is not None:
        from compodiff.stages.preset import enter_preset

        project = enter_preset(project, preset)
    if stage in TRAININGS and start_workers(["run", stage], project):
        return
    run_stage(stage, project)


@app.command("finetune")
def run_finetuning(
    *,
    name: Annotated[str, typer.Option("--set", help="A set of params.yaml with triplets: what is learned now.")],
    model: Annotated[str, typer.Option("--from", help="An alias, or a folder with composed/ and encoder/.")] = CHAMPION,
    kept: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a batch that stays with the sets of `composed.tasks`.")
    ] = 0.3,
    steps: Annotated[int | None, typer.Option(min=1, help="Default: `finetuning.steps`.", show_default=False)] = None,
    to: Annotated[Path | None, typer.Option(help="Default: artifacts/finetuned/NAME.", show_default=False)] = None,
) -> None:
    """Train a model further on a set of your own, keeping what it knew; the result is a folder for --model.

    The set and those that are kept are embedded and validated first: dvc repro validate@NAME.
    """
    from compodiff.params import load_params
    from compodiff.search.locate import find_model_parts
    from compodiff.stages.finetune import finetune, share_with

    project = find_project_root()
    params = load_params(project / "params.yaml")
    if name not in params.sets:
        raise InputInvalid(f"params.yaml has no set {name!r}; it has: {', '.join(params.sets)}")
    changes = {"tasks": share_with(params.composed.tasks, name, kept), "steps": steps or params.finetuning.steps}
    folder = to or project / "artifacts" / "finetuned" / name
    parts = find_model_parts(model)
    finetune(
        params.finetuning.model_copy(update=changes),
        name,
        composed=parts.composed,
        encoder=parts.encoder,
        artifacts=project / "artifacts",
        to=folder,
    )
    echo(f"{folder}: use it with --model, for instance: compodiff benchmark run triplets --root MINE --model {folder}")


@app.command("data")
def build_data() -> None:
    """Build data/ (pictures, names and relations) from the pinned packages."""
    from compodiff.catalogue.build import build_catalogue
    from compodiff.params import load_params

    root = find_project_root()
    build_catalogue(root / "data", load_params(root / "params.yaml").data)
