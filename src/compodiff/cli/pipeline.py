"""`compodiff run STAGE` and `compodiff data`: the steps of the pipeline, one at a time."""

import os
from typing import Annotated

import typer

from compodiff.project import find_project_root

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
    from compodiff.stages.declaration import run_stage

    project = find_project_root()
    if preset is not None:
        from compodiff.stages.preset import enter_preset

        project = enter_preset(project, preset)
    run_stage(stage, project)


@app.command("data")
def build_data() -> None:
    """Build data/ (pictures, names and relations) from the pinned packages."""
    from compodiff.catalogue.build import build_catalogue
    from compodiff.params import load_params

    root = find_project_root()
    build_catalogue(root / "data", load_params(root / "params.yaml").data)
