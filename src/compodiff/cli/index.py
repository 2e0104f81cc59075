"""`compodiff index build FOLDER` and `compodiff index status FOLDER`: one's own pictures, ready for search."""

from pathlib import Path
from typing import Annotated

import typer

from compodiff.cli.project import project_root
from compodiff.model_parts import CHAMPION, model_parts
from compodiff.retrieval import INSIDE

Folder = Annotated[Path, typer.Argument(help="A folder of JPEG, PNG, WebP and GIF pictures, at any depth.")]
Out = Annotated[
    Path | None, typer.Option("--out", help=f"Where the index stands. Default: FOLDER/{INSIDE}.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    group = typer.Typer(help="Make a folder of your own pictures ready for search.", no_args_is_help=True)
    group.command("build")(build)
    group.command("status")(status)
    app.add_typer(group, name="index")


def build(
    folder: Folder,
    out: Out = None,
    model: Annotated[str, typer.Option(help="The model that will search: an alias, or a folder.")] = CHAMPION,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out pictures that do not decode.")
    ] = False,
) -> None:
    """Encode the pictures of FOLDER. A second run encodes only what is new; one that was killed continues."""
    from tqdm import tqdm

    from compodiff.encoders import load_encoder
    from compodiff.params import load_params
    from compodiff.retrieval.folder import build_folder_index
    from compodiff.retrieval.pictures import loose_pictures

    params = load_params(project_root() / "params.yaml").index
    folder = folder.resolve()
    files = list(loose_pictures(folder))
    encoder = load_encoder(model_parts(model).encoder)
    built = build_folder_index(
        folder,
        (out or folder / INSIDE).resolve(),
        encoder,
        params,
        skip_unreadable=skip_unreadable,
        files=tqdm(files, "indexing", unit=" pictures", disable=None),
    )
    for name, reason in built.unreadable.items():
        typer.echo(f"left out: {name} ({reason})", err=True)
    typer.echo(
        f"{built.pictures} pictures in {built.index}, {built.encoded} newly encoded, {len(built.unreadable)} left out"
    )


def status(folder: Folder, out: Out = None) -> None:
    """Say what the index of FOLDER holds and what has changed since; every byte is read."""
    from compodiff.retrieval.folder import folder_status
    from compodiff.retrieval.manifest import damaged_files, read_manifest

    folder = folder.resolve()
    index = (out or folder / INSIDE).resolve()
    manifest = read_manifest(index)
    encoder = f"{manifest.encoder.name} ({manifest.encoder.weights_digest[:8]})"
    typer.echo(f"{manifest.count} pictures in {index}, {manifest.kind}, {manifest.dim}-d vectors of {encoder}")
    for name in damaged_files(index):
        typer.echo(f"damaged: {name}; remove the index and build it again")
    changes = vars(folder_status(index, folder))
    for kind, paths in changes.items():
        for path in paths:
            typer.echo(f"{kind}: {path}")
    if any(changes.values()):
        typer.echo(f"bring it up to date: compodiff index build {folder}")
