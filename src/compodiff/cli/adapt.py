"""`compodiff adapt`: any encoder that puts texts among pictures learns to compose, from captions alone."""

import json
import os
import re
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from compodiff.cli.output import Column, echo, print_table
from compodiff.errors import InputInvalid
from compodiff.project import find_project_root

Encoder = Annotated[
    str | None,
    typer.Option(
        help="A name of `compodiff get --list`, a hub id, or a folder of an encoder. Default: the project's.",
        show_default=False,
    ),
]
Weights = Annotated[
    str | None, typer.Option(help="ENCODER is of open_clip's list: its tag, or a file of weights.", show_default=False)
]
Captions = Annotated[
    Path | None,
    typer.Option(
        help="Your list: .txt (one a line), .parquet, .jsonl, .tar, or a folder. Default: everyday things, made here.",
        show_default=False,
    ),
]
Pictures = Annotated[
    Path | None,
    typer.Option(
        help="A folder: shows where the encoder puts pictures, is indexed, and scored if its folders are classes.",
        show_default=False,
    ),
]
To = Annotated[Path | None, typer.Option(help="Default: artifacts/adapted/ENCODER.", show_default=False)]
Register = Annotated[bool, typer.Option("--register/--no-register", help="Make it the challenger in MLflow.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

_COLUMNS: tuple[Column, ...] = (
    ("figures", "left"),
    ("", "left"),
    ("R@1", "right"),
    ("R@5", "right"),
    ("R@10", "right"),
)
_RECALLS = ("recall_at_1", "recall_at_5", "recall_at_10")
app = typer.Typer()


@app.command("adapt")
def run_adaptation(
    *,
    encoder: Encoder = None,
    weights: Weights = None,
    captions: Captions = None,
    pictures: Pictures = None,
    to: To = None,
    register: Register = True,
    as_json: AsJson = False,
) -> None:
    """Teach any encoder with a joint space to compose, from captions alone.

    The result is a folder for --model, registered as the challenger; the champion stays. A run that was killed goes on
    where it was. How: section `adaptation` of params.yaml, docs/encoders.md.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # see `compodiff run`
    from compodiff.adaptation.adapt import Adaptation, adapt, register_adapted
    from compodiff.params import load_params

    project = find_project_root()
    named = encoder or str(project / "artifacts" / "encoder")
    for path in (captions, pictures):
        if path is not None and not path.exists():
            raise InputInvalid(f"{path} is not there")
    folder = (to or project / "artifacts" / "adapted" / _name_folder(encoder)).absolute()
    asked = Adaptation(project, load_params(project / "params.yaml"), named, weights, captions, pictures, folder)
    content = adapt(asked)
    version = register_adapted(asked) if register else None
    if as_json:
        typer.echo(json.dumps({"to": str(folder), "version": version, **content}))
        return
    print_table(_COLUMNS, _list_figures(content["figures"]), has_lines=False)
    if "pictures" not in content["figures"] and pictures is not None:
        echo(f"not scored on {pictures}: its folders are taken for classes, and there are fewer than two", err=True)
    if version is not None:
        echo(f"version {version} is challenger now; the champion is as it was (compodiff promote)")
    own = f" --index {shlex.quote(str(folder / 'index'))}" if pictures is not None else ""
    echo(f"{folder}: use it by compodiff search --model {shlex.quote(str(folder))}{own}, or serve")


def _name_folder(encoder: str | None) -> str:
    return "embedded" if encoder is None else re.sub(r"[^\w.-]+", "-", Path(encoder).name) or "encoder"


def _list_figures(figures: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (name, row, *(f"{own[recall]:.3f}" for recall in _RECALLS))
        for name, rows in figures.items()
        for row, own in rows.items()
        if row != "record"
    ]
