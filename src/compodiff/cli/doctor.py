"""`compodiff doctor`: this machine, what is installed, and what `make run` will take here; in any folder."""

from typing import Annotated

import typer

from compodiff.cli.output import echo
from compodiff.project import find_project

app = typer.Typer()


@app.command("doctor")
def run_doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a screen.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Do not measure how long make run will take.")] = False,
) -> None:
    """Examine this machine and the installation; where something is broken, say what and how to mend it.

    Where this command does not start at all: make doctor.
    """
    from compodiff.doctor import write_report

    def write(text: str) -> None:
        for line in text.splitlines():
            echo(line)

    raise typer.Exit(write_report(find_project(), write, as_json=as_json, calibrate=not quick))
