"""`compodiff index build|add|remove|status FOLDER`: one's own pictures, ready for search."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compodiff.cli.options import Model
from compodiff.cli.output import echo, show_work
from compodiff.errors import InputInvalid
from compodiff.index import INSIDE
from compodiff.project import find_params_file, find_project_root
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


@app.command("from-embeddings")
def index_embeddings(
    source: Annotated[
        Path,
        typer.Argument(help="Arrays (x.npy, x.parquet), a folder of clip-retrieval, or artifacts/embeddings/SET"),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", help="Where the index stands.")],
    model: Model = None,
    add: Annotated[bool, typer.Option("--add", help="Add them to the index that is there.")] = False,
    kind: Annotated[str, typer.Option(help="flat, ivf_rabitq, ivf_sq8 or ivf_fp16. auto: by size.")] = "auto",
    lists: Annotated[int, typer.Option(min=0, help="Inverted lists. 0: by size.")] = 0,
    recall: Annotated[float, typer.Option(min=0, max=1, help="Least share of the 10 nearest that are found.")] = 0.95,
    id_column: Annotated[str, typer.Option("--id", help="Column that names pictures. Default: the usual.")] = "",
    set_folder: Annotated[
        Path | None, typer.Option("--set", help="The set, where SOURCE holds its embeddings.", show_default=False)
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder that paths of the tables start from.", show_default=False)
    ] = None,
) -> None:
    """Index vectors that the model's encoder made, of any number, shard by shard; one that was killed continues."""
    from compodiff.encoders import load_encoder
    from compodiff.index.segments.building import SegmentPlan
    from compodiff.index.segments.making import VectorsToIndex, index_vectors
    from compodiff.params import load_params

    encoder = load_encoder(find_model_parts(choose_model(model)).encoder).manifest
    root = pictures or (source if set_folder is None else find_project_root())
    plan = SegmentPlan(kind, lists, recall, id_column, str(root.resolve()))
    params = load_params(find_params_file()).index
    made = index_vectors(out.resolve(), VectorsToIndex(source, encoder, plan, add, set_folder), params)
    echo(f"{made.count} pictures in {out}, {made.kind}")
    if made.segments is not None:
        echo(", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in made.segments.measured.items()))


@app.command("to-engine")
def send_to_engine(
    index: Annotated[Path, typer.Argument(help="An index that `index from-embeddings` made.")],
    address: Annotated[str, typer.Argument(help="Of Milvus: http://HOST:19530, or a file NAME.db.")],
) -> None:
    """Let Milvus search an index at size; a second run sends what was added since."""
    from compodiff.index.segments.engine import send_to_engine

    sent = send_to_engine(index, address)
    echo(f"{sent.count} pictures of {index} are searched by {address}")


@app.command("remove")
def remove(folder: Folder, files: Files = None, out: Out = None) -> None:
    """Take pictures out of the index of FOLDER, not off the disk. Default: all that are no longer there.

    FOLDER may be an index of embeddings; FILES are ids then.
    """
    from compodiff.index.folder import remove_from_index
    from compodiff.index.scanning import find_path_inside
    from compodiff.index.segments.making import is_of_segments, remove_pictures
    from compodiff.params import load_params

    if is_of_segments(folder):
        left = remove_pictures(folder.resolve(), [str(file) for file in files or ()])
        echo(f"{left.count} pictures in {folder}, {len(set(files or ()))} removed")
        return
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
    from compodiff.index.segments.making import is_of_segments

    alone = is_of_segments(folder)
    folder, index = (folder, folder) if alone else _resolve(folder, out)
    manifest = read_manifest(index)
    if not alone:
        require_folder(index, manifest, folder)
    shape = f"{manifest.kind}, {manifest.dim}-d vectors of {manifest.encoder.describe()}"
    echo(f"{manifest.count} pictures in {index}, {shape}")
    with show_work("reading every byte of the index and of the folder"):
        damaged, found = list_damaged_files(index), None if alone else compare_folder(index, folder)
    for name in damaged:
        echo(f"damaged: {name}; remove the index and build it again")
    if found is None:
        return
    changes = {"added": found.added, "changed": found.changed, "removed": found.removed}
    for kind, paths in changes.items():
        for path in paths:
            echo(f"{kind}: {path}")
    for path, reason in found.left_out.items():
        echo(f"left out: {path} ({reason})")
    if any(changes.values()):
        echo(f"bring it up to date: compodiff index build {folder}")
