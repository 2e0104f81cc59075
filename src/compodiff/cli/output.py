"""What the shell shows to people: names are data, never markup, and nothing in them reaches the terminal as a command.

JSON is written as it is, by typer.echo: it escapes control characters itself.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import typer

from compodiff.storage.names import make_printable

Column = tuple[str, Literal["left", "right"]]  # name and side

_WIDTH = 200  # characters of a table that goes to a file or another program


def echo(line: object, *, err: bool = False) -> None:
    """Print one line; what a terminal would not show is escaped."""
    typer.echo(make_printable(str(line)), err=err)


@contextmanager
def show_work(text: str, *, is_quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what a command is doing while the block runs; what is yielded changes the text, "" hides it.

    Nothing is shown where stderr is no terminal, or `is_quiet`.
    """
    if is_quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(text)) as status:

        def change(said: str) -> None:
            if said:
                status.update(Text(make_printable(said)))
            else:
                status.stop()

        yield change


def print_files(paths: Iterable[Path]) -> None:
    """Print paths as they are, a NUL after each, for a program such as `xargs -0`."""
    for path in paths:
        typer.echo(os.fsencode(path) + b"\0", nl=False)


def print_table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str]],
    *,
    title: str | None = None,
    has_lines: bool = True,
) -> None:
    """Print a table.

    Args:
        columns: one a cell of each row.
        rows: the cells' texts; what a terminal would not show is escaped.
        title: what stands above it.
        has_lines: whether lines are drawn around and between.
    """
    from rich.box import HEAVY_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=None if title is None else Text(make_printable(title)), box=HEAVY_HEAD if has_lines else None)
    for name, side in columns:
        table.add_column(Text(make_printable(name)), justify=side, overflow="fold")
    for row in rows:
        table.add_row(*(Text(make_printable(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() or has_lines else _WIDTH).print(table)
