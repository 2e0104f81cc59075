"""Options of the numbers that a query may set, made from the one table of them."""

from typing import Any

import typer

from compodiff.dials import DIALS


def make_dial_option(name: str, *flags: str) -> Any:
    """Return the option of a dial: what it means, its range and its default.

    Args:
        name: of the dial.
        flags: in place of its short name.
    """
    dial = DIALS[name]
    default = "" if dial.default is not None else " Default: the model's."
    own = flags or (f"--{(dial.option or dial.name).replace('_', '-')}",)
    return typer.Option(*own, help=f"{dial.help[0].upper()}{dial.help[1:]}, {dial.range}.{default}")
