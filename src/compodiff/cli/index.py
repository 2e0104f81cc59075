"""`compodiff index build|add|remove|status FOLDER`: one's own pictures, ready for search."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compodiff.cli.options import Model
from compodiff.cli.output import echo, show_work
from compodiff.errors import InputInvalid
from compodiff.index import INSIDE
from compodiff.project import find_params_file
from compodiff.search.locate import choose_index_place, choose_model, find_model_parts

if TYPE_CHECKING:
    from compodiff.index.folder import BuildPlan

Folder = Annotated[Path, typer.Argument(help="A folder of pictures, at any depth.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help=f"Where the index stands. Default: FOLDER/{INSIDE}; of a folder that cannot be written, the model home.",
        show_default=False,
    ),
]
Columns = Annotated[
    Path | None, typer.Option(help="Parquet or CSV with a column of paths, and more to filter by.", show_default=False)
]
NoColumns = Annotated[bool, typer.Option("--no-columns", help="Forget the columns of an earlier --columns.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse to build where a picture cannot be read.")]
Skip = Annotated[bool, typer.Option("--skip-unreadable", hidden=True, help="As without --strict.")]
Checksum = Annotated[bool, typer.Option("--checksum", help="Read also files whose size, time and inode are as before.")]
Files = Annotated[list[Path] | None, typer.Argument(help="Pictures of FOLDER. Default: all that this concerns.")]


app = typer.Typer(name="index", help="Make a folder of your own pictures ready for search.", no_args_is_help=True)


@app.command("build")
def build(
    folder: Folder,
    out: Out = None,
    model: Model = None,
    columns: Columns = None,
    no_columns: NoColumns = False,
    strict: Strict = False,
    skip_unreadable: Skip = False,
    checksum: Checksum = False,
) -> None:
    """Encode the pictures of FOLDER. A second run reads and encodes what is new; one that was killed continues."""
    from compodiff.images import list_pictures
    from compodiff.index.folder import BuildPlan

    folder, index = _resolve(folder, out)
    listing = list_pictures(folder)
    if columns is not None and no_columns:
        raise InputInvalid("--columns and --no-columns contradict each other; give one")
    todo = BuildPlan(listing.files, listing, strict, checksum=checksum, columns=columns, no_columns=no_columns)
    _build(folder, index, model, todo)


@app.command("add")
def add(
    folder: Folder,
    files: Files = None,
    out: Out = None,
    model: Model = None,
    columns: Columns = None,
    strict: Strict = False,
    skip_unreadable: Skip = False,
) -> None:
    """Add pictures to the index of FOLDER; those that it holds are not read. Default: all that it does not hold."""
    from compodiff.images import PictureListing, list_pictures
    from compodiff.index.folder import BuildPlan, list_not_held
    from compodiff.index.scanning import find_path_inside

    folder, index = _resolve(folder, out)
    if files:
        listing, chosen = PictureListing(), [find_path_inside(folder, file) for file in files]
    else:
        listing = list_pictures(folder)
        chosen = list_not_held(index, folder, listing)
    if not chosen and not strict and columns is None:
        echo("nothing to add")
        return
    _build(folder, index, model, BuildPlan(chosen, listing, strict, keep=True, columns=columns))


@app.command("remove")
def remove(folder: Folder, files: Files = None, out: Out = None) -> None:
    """Take pictures out of the index of FOLDER, not off the disk. Default: all that are no longer there."""
    from compodiff.index.folder import remove_from_index
    from compodiff.index.scanning import find_path_inside
    from compodiff.params import load_params

    folder, index = _resolve(folder, out)
    names = [find_path_inside(folder, file).relative_to(folder).as_posix() for file in files] if files else None
    params = load_params(find_params_file()).index
    done = remove_from_index(folder, index, params, names)
    echo(f"{done.pictures} pictures in {done.index}, {done.removed} removed")


def _build(folder: Path, index: Path, model: str | None, todo: "BuildPlan") -> None:
    from compodiff.encoders import load_encoder
    from compodiff.images.files import name_others
    from compodiff.index.folder import build_folder_index
    from compodiff.index.manifest import require_replaceable_index
    from compodiff.params import load_params

    require_replaceable_index(index)
    chosen = choose_model(model, index)
    with show_work("opening the encoder"):
        encoder = load_encoder(find_model_parts(chosen).encoder).prepare_for_many()
    params = load_params(find_params_file()).index
    built = build_folder_index(folder, index, encoder, params, replace(todo, made_by=chosen.to_json()))
    for name, reason in built.unreadable.items():
        echo(f"left out: {name} ({reason})", err=True)
    if others := name_others(built.others):
        echo(others, err=True)
    if built.unmet:
        echo(f"note: {built.unmet}", err=True)
    echo(f"{built.pictures} pictures in {built.index}, {built.encoded} newly encoded, {len(built.unreadable)} left out")


def _resolve(folder: Path, out: Path | None) -> tuple[Path, Path]:
    """Return the folder of pictures, and that of its index."""
    from compodiff.index.scanning import resolve

    folder = resolve(folder)
    return folder, resolve(out or choose_index_place(folder))


@app.command("status")
def show_status(folder: Folder, out: Out = None) -> None:
    """Say what the index of FOLDER holds and what has changed since; every byte is read."""
    from compodiff.index.folder import compare_folder
    from compodiff.index.manifest import list_damaged_files, read_manifest, require_folder

    folder, index = _resolve(folder, out)
    manifest = read_manifest(index)
    require_folder(index, manifest, folder)
    shape = f"{manifest.kind}, {manifest.dim}-d vectors of {manifest.encoder.describe()}"
    echo(f"{manifest.count} pictures in {index}, {shape}")
    with show_work("reading every byte of the index and of the folder"):
        damaged, found = list_damaged_files(index), compare_folder(index, folder)
    for name in damaged:
        echo(f"damaged: {name}; remove the index and build it again")
    changes = {"added": found.added, "changed": found.changed, "removed": found.removed}
    for kind, paths in changes.items():
        for path in paths:
            echo(f"{kind}: {path}")
    for path, reason in found.left_out.items():
        echo(f"left out: {path} ({reason})")
    if any(changes.values()):
        echo(f"bring it up to date: compodiff index build {folder}")
