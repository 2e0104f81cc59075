"""`compodiff convert`: released weights into a model folder, and back."""

from pathlib import Path
from typing import Annotated

import typer

from compodiff.cli.output import echo

app = typer.Typer()


@app.command("convert")
def convert(
    folder: Annotated[Path, typer.Argument(help="Folder of a released checkpoint (with --released: of a model).")],
    to: Annotated[Path, typer.Option("--to", help="The folder to write.")],
    released: Annotated[bool, typer.Option("--released", help="Write the released form instead of reading.")] = False,
) -> None:
    """Convert released CompoDiff weights to a model folder, or back. Code in a pickle is not run."""
    from compodiff.released.conversion import export_released, import_released

    if released:
        export_released(folder, to)
        echo(f"{to}: released form of {folder}")
        return
    shape = import_released(folder, to).denoiser
    wide = " and ".join(map(str, shape.token_dims))
    echo(f"{to}: depth {shape.depth}, width {shape.width}, {shape.heads} heads, text tokens {wide} wide")
