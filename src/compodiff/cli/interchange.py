"""`compodiff export` and `compodiff import`: triplets as other projects keep them."""

from pathlib import Path
from typing import Annotated

import typer

from compodiff.cli.output import echo
from compodiff.errors import InputInvalid
from compodiff.project import find_project_root

To = Annotated[Path, typer.Option("--to", help="Folder that is made.")]


app = typer.Typer()


@app.command("export")
def export_(
    dataset: Annotated[Path, typer.Argument(help="A folder of triplets: shards and manifest.parquet.")],
    to: To,
    format_name: Annotated[str, typer.Option("--format", help="webdataset or parquet (Hugging Face).")] = "webdataset",
) -> None:
    """Write a dataset's accepted triplets as webdataset tars or as Hugging Face parquet."""
    from compodiff.interchange.exporting import WRITERS, export_triplets

    _check_known(format_name, list(WRITERS))
    echo(f"{export_triplets(dataset, format_name, to):,} triplets in {to}")


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="The set's files; for LaSCo, COCO's pictures (train2014, val2014).")],
    *,
    to: To,
    format_name: Annotated[str, typer.Option("--format", help="webdataset, parquet or lasco.")] = "webdataset",
    column: Annotated[
        list[str] | None, typer.Option("--column", help="ROLE=NAME where a column is not found by itself.")
    ] = None,
    annotations: Annotated[Path | None, typer.Option(help="lasco: lasco_train.json.", show_default=False)] = None,
    captions: Annotated[list[Path] | None, typer.Option(help="lasco: COCO's captions_*.json; repeat it.")] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="Whose similarities filter. Default: artifacts/encoder.", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="train or validation, of triplets that name none.")] = "train",
    seed: Annotated[int, typer.Option(min=0, help="Of relative captions that the set does not have.")] = 17,
    skip_faulty: Annotated[
        bool, typer.Option("--skip-faulty", help="Leave out triplets with a fault, and name them.")
    ] = False,
) -> None:
    """Make a folder of triplets out of another set: read, filtered with the project's floors, in shards.

    An export of ours comes back as it was. An import that was stopped continues.
    """
    from compodiff.interchange.formats import FORMATS, ForeignSet, import_triplets
    from compodiff.interchange.importing import SPLITS, Importer
    from compodiff.params import load_params

    _check_known(format_name, list(FORMATS))
    _check_known(split, list(SPLITS))
    root = find_project_root()
    synthesis = load_params(root / "params.yaml").synthesis
    source = ForeignSet(folder, format_name, _parse_columns(column or []), annotations, tuple(captions or ()))
    importer = Importer(
        encoder=(encoder or root / "artifacts" / "encoder").resolve(),
        floors=synthesis.floors,
        batch_size=synthesis.batch_size,
        split=split,
        seed=seed,
        skip_faulty=skip_faulty,
    )
    found = import_triplets(source, importer, to)
    faulty = f", {found['faulty']:,} faulty left out" if skip_faulty else ""
    echo(f"{found['accepted']:,} of {found['triplets']:,} triplets accepted{faulty}, in {to}")


def _parse_columns(given: list[str]) -> dict[str, str]:
    for each in given:
        if "=" not in each:
            raise InputInvalid(f"--column {each!r} is not ROLE=NAME; for instance: --column target_image=edited")
    return dict(each.split("=", 1) for each in given)


def _check_known(name: str, names: list[str]) -> None:
    if name not in names:
        raise InputInvalid(f"{name!r} is not one of: {', '.join(names)}")
