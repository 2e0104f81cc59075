"""`compodiff index build|add|remove|status FOLDER`: one's own pictures, ready for search."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from compodiff.cli.index_building import build_index, find_sources, watch_folders
from compodiff.cli.options import Model
from compodiff.cli.output import echo, show_work
from compodiff.errors import InputInvalid
from compodiff.index import INSIDE
from compodiff.project import find_params_file, find_project_root
from compodiff.search.locate import choose_index_place, choose_model, find_model_parts

Folder = Annotated[Path, typer.Argument(help="A folder of pictures, at any depth.")]
Folders = Annotated[list[Path], typer.Argument(help="Folders of pictures, at any depth; several want --out.")]
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
Exclude = Annotated[
    list[str] | None,
    typer.Option(help="Pass over what fits, as in a .gitignore; again for more. Kept.", show_default=False),
]
NoExclude = Annotated[bool, typer.Option("--no-exclude", help="Forget the patterns of an earlier --exclude.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse to build where a picture cannot be read.")]
Skip = Annotated[bool, typer.Option("--skip-unreadable", hidden=True, help="As without --strict.")]
Checksum = Annotated[bool, typer.Option("--checksum", help="Read also files whose size, time and inode are as before.")]
Watch = Annotated[bool, typer.Option("--watch", help="Go on: add what comes and what changes, until Ctrl-C.")]
Every = Annotated[float, typer.Option(min=0.1, help="Seconds between two looks of --watch, at least.")]
AsJson = Annotated[bool, typer.Option("--json", help="For a program.")]
Files = Annotated[list[Path] | None, typer.Argument(help="Pictures of FOLDER. Default: all that this concerns.")]


app = typer.Typer(name="index", help="Make a folder of your own pictures ready for search.", no_args_is_help=True)


@app.command("build")
def build(
    folders: Folders,
    *,
    out: Out = None,
    model: Model = None,
    columns: Columns = None,
    no_columns: NoColumns = False,
    exclude: Exclude = None,
    no_exclude: NoExclude = False,
    strict: Strict = False,
    skip_unreadable: Skip = False,
    checksum: Checksum = False,
) -> None:
    """Encode the pictures of FOLDERS. A second run reads and encodes what is new; one that was killed continues."""
    from compodiff.index.folder import BuildPlan
    from compodiff.index.scanning import resolve
    from compodiff.index.sources import Sources

    if columns is not None and no_columns:
        raise InputInvalid("--columns and --no-columns contradict each other; give one")
    if exclude and no_exclude:
        raise InputInvalid("--exclude and --no-exclude contradict each other; give one")
    sources = Sources.join(folders)
    if out is None and sources.is_of_several:
        raise InputInvalid(f"{len(sources.folders)} folders need a place for their index; name one with --out")
    index = resolve(out or choose_index_place(sources.root))
    before = Sources.read_beside(index, sources.root)
    sources.require_those_of(before, index)
    sources = sources.exclude(() if no_exclude else exclude or before.patterns)
    listing = sources.list_pictures()
    more: dict[str, Any] = {"columns": columns, "no_columns": no_columns, "sources": sources}
    build_index(sources.root, index, model, BuildPlan(listing.files, listing, strict, checksum=checksum, **more))


@app.command("add")
def add(
    folder: Folder,
    files: Files = None,
    *,
    out: Out = None,
    model: Model = None,
    columns: Columns = None,
    strict: Strict = False,
    skip_unreadable: Skip = False,
    watch: Watch = False,
    every: Every = 5.0,
) -> None:
    """Add pictures to the index of FOLDER; those that it holds are not read. Default: all that it does not hold."""
    from compodiff.images import PictureListing
    from compodiff.index.comparing import list_not_held
    from compodiff.index.folder import BuildPlan
    from compodiff.index.scanning import find_path_inside

    if watch and (files or columns is not None or strict):
        raise InputInvalid("--watch takes no FILES, --columns or --strict; leave them out")
    sources, index = find_sources(folder, out)
    if watch:
        watch_folders(sources, index, model, every)
        return
    if files:
        listing, chosen = PictureListing(), [find_path_inside(sources.root, file) for file in files]
    else:
        listing = sources.list_pictures()
        chosen = list_not_held(index, sources.root, listing)
    if not chosen and not strict and columns is None:
        echo("nothing to add")
        return
    build_index(sources.root, index, model, BuildPlan(chosen, listing, strict, keep=True, columns=columns))


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
    kind: Annotated[str, typer.Option(help="flat, ivf_rabitq, ivf_sq8, ivf_fp16, cagra. auto: what suits.")] = "auto",
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
    from compodiff.index.scanning import resolve
    from compodiff.index.segments.building import SegmentPlan
    from compodiff.index.segments.making import VectorsToIndex, index_vectors
    from compodiff.params import load_params

    chosen = choose_model(model, out if add else None)
    encoder = load_encoder(find_model_parts(chosen).encoder).manifest
    root = pictures or (source if set_folder is None else find_project_root())
    plan = SegmentPlan(kind, lists, recall, str(resolve(root)), chosen.to_json())
    params = load_params(find_params_file()).index
    made = index_vectors(resolve(out), VectorsToIndex(source, encoder, plan, add, set_folder, id_column), params)
    echo(f"{made.count} pictures in {out}, {made.kind}: {made.chosen}")
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


@app.command("near-duplicates")
def find_near_duplicates(
    index: Annotated[Path, typer.Argument(help="An index of any kind and size.")],
    *,
    to: Annotated[Path, typer.Option("--to", help="Parquet: picture_id, other_id, cosine.")],
    cosine: Annotated[float, typer.Option(min=-1, max=1, help="Of two near-duplicates, at least.")] = 0.95,
    neighbours: Annotated[int, typer.Option(min=1, help="Nearest pictures that each is compared with.")] = 16,
) -> None:
    """Write pairs of near-duplicates, found by the index's own search; the index stays as it is."""
    from compodiff.index.index import Index
    from compodiff.index.near_pairs import write_near_pairs

    said = write_near_pairs(Index.load(index), to, least_cosine=cosine, neighbours=neighbours)
    echo(f"{said['pairs']} pairs in {to}")
    if said["full"]:
        echo(f"{said['full']} pictures have {neighbours} near-duplicates or more; raise --neighbours for all of them")


@app.command("remove")
def remove(folder: Folder, files: Files = None, out: Out = None) -> None:
    """Take pictures out of the index of FOLDER, not off the disk. Default: all that are no longer there.

    FOLDER may be an index of embeddings; FILES are ids then.
    """
    from compodiff.index.folder import remove_from_index
    from compodiff.index.scanning import find_path_inside, resolve
    from compodiff.index.segments.making import is_of_segments, remove_pictures
    from compodiff.params import load_params

    if is_of_segments(folder):
        left = remove_pictures(resolve(folder), [str(file) for file in files or ()])
        echo(f"{left.count} pictures in {folder}, {len(set(files or ()))} removed")
        return
    sources, index = find_sources(folder, out)
    root = sources.root
    names = [find_path_inside(root, file).relative_to(root).as_posix() for file in files] if files else None
    params = load_params(find_params_file()).index
    done = remove_from_index(root, index, params, names)
    echo(f"{done.pictures} pictures in {done.index}, {done.removed} removed")


@app.command("status")
def show_status(folder: Folder, out: Out = None, as_json: AsJson = False) -> None:
    """Say what the index of FOLDER holds and what has changed since; every byte is read."""
    from compodiff.index.comparing import compare_folder, count_values
    from compodiff.index.manifest import list_damaged_files, read_manifest, require_folder
    from compodiff.index.segments.making import is_of_segments

    alone = is_of_segments(folder)
    sources, index = (None, folder) if alone else find_sources(folder, out)
    manifest = read_manifest(index)
    if sources is not None:
        require_folder(index, manifest, sources.root)
    with show_work("reading every byte of the index and of the folder", is_quiet=as_json):
        damaged = list_damaged_files(index)
        said: dict[str, Any] = {"index": str(index), "pictures": manifest.count, "damaged": damaged}
        if sources is not None:
            said |= {"folders": sources.list_paths(), "exclude": list(sources.patterns)}
            said |= {"columns": count_values(index, sources.root), **vars(compare_folder(index, sources.root))}
    if as_json:
        typer.echo(json.dumps(said, ensure_ascii=True))
        return
    shape = f"{manifest.kind}, {manifest.dim}-d vectors of {manifest.encoder.describe()}"
    echo(f"{manifest.count} pictures in {index}, {shape}")
    if manifest.chosen:
        echo(f"{manifest.kind}: {manifest.chosen}")
    for name in damaged:
        echo(f"damaged: {name}; remove the index and build it again")
    if sources is not None:
        _tell_changes(said, [] if out is None else ["--out", str(index)])


def _tell_changes(said: Mapping[str, Any], more: Sequence[str]) -> None:
    echo(f"columns: {', '.join(f'{name} ({count:,})' for name, count in said['columns'].items())}")
    kinds = ("added", "changed", "removed")
    for kind in kinds:
        for path in said[kind]:
            echo(f"{kind}: {path}")
    for path, reason in said["left_out"].items():
        echo(f"left out: {path} ({reason})")
    if any(said[kind] for kind in kinds):
        echo(f"bring it up to date: compodiff index build {shlex.join([*said['folders'], *more])}")
