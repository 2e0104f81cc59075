"""`compodiff export` and `compodiff import`: sets as other projects keep them."""

from pathlib import Path
from typing import Annotated

import typer

from compodiff.cli.output import echo
from compodiff.errors import InputInvalid

To = Annotated[Path, typer.Option("--to", help="Folder that is made.")]
Column = Annotated[
    list[str] | None,
    typer.Option("--column", help="ROLE=NAME where a column is not found by itself; ROLE= for none. Repeat it."),
]
Pictures = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="What paths of pictures count from: a folder of pictures, or of tars; or its address.",
        show_default=False,
    ),
]
Captions = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="A file of captions (captions, lasco): COCO, Flickr30k, Conceptual Captions. Repeat it.",
    ),
]


app = typer.Typer()


@app.command("export")
def export_(
    training_set: Annotated[str, typer.Argument(metavar="SET", help="A set: its folder, or address.")],
    to: To,
    format_name: Annotated[str, typer.Option("--format", help="webdataset or parquet (Hugging Face).")] = "webdataset",
    validated: Annotated[
        Path | None,
        typer.Option(help="artifacts/validation/NAME: write only rows accepted there.", show_default=False),
    ] = None,
) -> None:
    """Write a set with its pictures inside, as webdataset tars or as Hugging Face parquet."""
    from compodiff.interchange.exporting import WRITERS, export_set

    _check_known(format_name, list(WRITERS))
    echo(f"{export_set(training_set, format_name, to, validated):,} rows in {to}")


@app.command("import")
def import_(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FILES",
            help="Folder of the set's files, or one of them, or the address of either (s3://bucket/laion); "
            "of `captions` the pictures.",
        ),
    ],
    *,
    to: To,
    format_name: Annotated[
        str,
        typer.Option(
            "--format",
            help="webdataset, img2dataset, parquet, captions, manifest (.jsonl, .json, .csv, .tsv, also .gz), "
            "megapairs, cc-coir, webvid-covr, inter-edit, lasco, fashioniq-train, cirr-train or clip-retrieval.",
        ),
    ] = "webdataset",
    column: Column = None,
    pictures: Pictures = None,
    captions: Captions = None,
    split: Annotated[
        str, typer.Option(help="train or validation, of rows that say none and whose file says none.")
    ] = "train",
    encoder: Annotated[
        str,
        typer.Option(
            metavar="FOLDER",
            help="The encoder that made the embeddings of clip-retrieval, as artifacts/encoder.",
            show_default=False,
        ),
    ] = "",
    length: Annotated[
        float | None,
        typer.Option(
            min=1e-3,
            help="Length that embeddings of clip-retrieval are given. Default: they stay as they are.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of relative captions that the set does not have.")] = 17,
    skip_faulty: Annotated[
        bool, typer.Option("--skip-faulty", help="Leave out what has a fault, name the first and count all.")
    ] = False,
    licence: Annotated[str, typer.Option(help="Of the pictures and texts, in words.")] = "not stated",
    source: Annotated[
        str, typer.Option(help="Where the set comes from, in words. Default: folder and format.", show_default=False)
    ] = "",
) -> None:
    """Make a set out of another one, pairs or triplets; its pictures stay where they lie.

    Rows of a test split are left out, and counted. An import that was stopped continues; with other options than it was
    begun with it is refused once a part of it is done, but for --skip-faulty, --licence and --source.
    """
    from compodiff.interchange.formats import FORMATS, Source, import_source
    from compodiff.sets import SPLITS
    from compodiff.sets.addresses import as_path

    _check_known(format_name, list(FORMATS))
    _check_known(split, list(SPLITS))
    it = Source(
        as_path(folder),
        format_name,
        _read_columns(column or []),
        as_path(pictures) if pictures else None,
        tuple(map(as_path, captions or ())),
        split,
        encoder,
        length,
    )
    description, total = import_source(it, to, seed=seed, skip_faulty=skip_faulty, licence=licence, origin=source)
    rows = ", ".join(f"{count:,} of {name}" for name, count in description.rows.items() if count)
    left_out = "".join(f", {count:,} {name.replace('_', ' ')}" for name, count in total.notes.items())
    echo(f"{total.rows:,} {description.kind} in {to} ({rows}){'; left out:' + left_out[1:] if left_out else ''}")


def _read_columns(given: list[str]) -> dict[str, tuple[str, ...]]:
    columns: dict[str, tuple[str, ...]] = {}
    for each in given:
        role, sign, name = each.partition("=")
        if not sign:
            raise InputInvalid(f"--column {each!r} is not ROLE=NAME; for instance: --column target_image=edited")
        columns[role] = (*columns.get(role, ()), name)
    return columns


def _check_known(name: str, names: list[str]) -> None:
    if name not in names:
        raise InputInvalid(f"{name!r} is not one of: {', '.join(names)}")
