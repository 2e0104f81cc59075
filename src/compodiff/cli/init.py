"""`compodiff init`: a project of one's own, to begin with."""

from pathlib import Path
from typing import Annotated

import typer

from compodiff.cli.output import echo

app = typer.Typer()


@app.command("init")
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the project: a new or an empty one.")],
    *,
    preset: Annotated[str, typer.Option(help="What params.yaml begins with; own: sets and a benchmark of yours.")] = (
        "own"
    ),
) -> None:
    """Begin a project outside the repository: params.yaml, dvc.yaml and folders; its README has the commands."""
    from compodiff.stages.beginning import begin_project

    begin_project(folder, preset)
    echo(f"{folder}: a project to begin with; {folder / 'README.md'} has the commands in order")
