"""The command line: `compodiff COMMAND`.

Each command group is a module here; heavy imports stand inside the commands.
"""

import gc
import os
import sys
from typing import Annotated

import typer

from compodiff import __version__
from compodiff.cli import (
    adapt,
    bench,
    benchmark,
    captions,
    compare,
    convert,
    dataset,
    demo,
    doctor,
    drift,
    experiment,
    get,
    index,
    init,
    inspect,
    interchange,
    pipeline,
    push,
    registry,
    search,
    serve,
)
from compodiff.cli.failure import close_output, report_error
from compodiff.cli.output import echo

_INTERRUPTED = 130  # as a shell calls what SIGINT ended

app = typer.Typer(
    name="compodiff",
    help="Composed image retrieval: a picture and a change find the picture you mean.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def print_version(wanted: bool) -> None:
    """Print the version and end, where it was asked for."""
    if wanted:
        echo(f"compodiff {__version__}")
        raise typer.Exit


@app.callback()
def show_version(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


_IN_ORDER = (
    pipeline,
    adapt,
    init,
    doctor,
    demo,
    search,
    index,
    serve,
    benchmark,
    captions,
    dataset,
    inspect,
    interchange,
    experiment,
    compare,
)
for commands in (*_IN_ORDER, get, push, registry, drift, bench, convert):
    app.add_typer(commands.app)


def main() -> None:
    """Run the command line; whatever goes wrong is one line on stderr and a non-zero exit code."""
    # OpenMP's threads sleep at a barrier instead of spinning. On a busy machine with two cores a picture is encoded in
    # 11 instead of 82 ms; OpenMP reads this when torch is loaded, which every command does later.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Imports make hundreds of thousands of objects that stay; looking for garbage at each 700 of them is a tenth of a
    # search (docs/performance.md#search).
    gc.set_threshold(10_000)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Exception as error:  # the outermost frame: `report` keeps the traceback of what nobody foresaw
        sys.exit(report_error(error))
    finally:
        close_output()
