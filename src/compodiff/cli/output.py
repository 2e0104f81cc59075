"""What the shell shows to people: names are data, never markup, and nothing in them reaches the terminal as a command.

JSON is written as it is, by typer.echo: it escapes control characters itself.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Literal

import typer

from compodiff.storage.names import make_printable

Column = tuple[str, Literal["left", "right"]]  # name and side

_WIDTH = 200  # characters of a table that goes to a file or another program


def echo(line: object, *, err: bool = False) -> None:
    """Print one line; what a terminal would not show is escaped."""
    typer.echo(make_printable(str(line)), err=err)


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
