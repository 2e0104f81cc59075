"""`compodiff dataset clean|plots DATASET`: what should not be in a dataset of triplets, and what filters cost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compodiff.cli.output import echo
from compodiff.project import project_root

if TYPE_CHECKING:
    from PIL import Image

    from compodiff.cleaning.survey import Gallery

Dataset = Annotated[Path, typer.Argument(help="A folder of shards, such as artifacts/triplets.")]
Benchmark = Annotated[
    list[Path] | None,
    typer.Option(
        "--benchmark", help="Folder of a benchmark; none of its pictures may be in the copy. May be repeated."
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="Of benchmarks in the `triplets` format: only pictures that the queries of this split name, "
        "not the whole gallery.",
        show_default=False,
    ),
]
EncoderFolder = Annotated[
    Path | None, typer.Option("--encoder", help="Default: artifacts/encoder of this project.", show_default=False)
]
Checker = Annotated[
    str | None,
    typer.Option("--safety-checker", help="Folder or hub id of Stable Diffusion's.", show_default=False),
]
Cosine = {"min": -1.0, "max": 1.0}


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    group = typer.Typer(help="Clean a dataset of triplets, and see what its filters do.", no_args_is_help=True)
    group.command("clean")(clean)
    group.command("plots")(plots)
    app.add_typer(group, name="dataset")


def clean(
    dataset: Dataset,
    *,
    to: Annotated[Path, typer.Option("--to", help="Folder of the clean copy; DATASET stays as it is.")],
    benchmark: Benchmark = None,
    split: Split = None,
    encoder: EncoderFolder = None,
    safety_checker: Checker = None,
    near_duplicate: Annotated[
        float, typer.Option(help="Cosine from which pictures that look alike are one.", **Cosine)
    ] = 0.9,
    any_caption: Annotated[
        bool, typer.Option("--any-caption", help="Also where the relative captions differ; time grows with the square.")
    ] = False,
    contaminated: Annotated[float, typer.Option(help="Cosine from which a picture is a benchmark's.", **Cosine)] = 0.95,
    batch_size: Annotated[int, typer.Option(help="Pictures that the encoder embeds at a time.", min=1)] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print the copy's report as one JSON object.")] = False,
) -> None:
    """Copy DATASET without near-duplicates, pictures of benchmarks, unsafe and unreadable ones."""
    from compodiff.cleaning.clean import FINDINGS, Rules
    from compodiff.cleaning.clean import clean as clean_copy
    from compodiff.cleaning.survey import Surveyor

    folder = encoder or project_root() / "artifacts" / "encoder"
    gallery = _gallery(benchmark or [], split, folder, batch_size, to.with_name(f"{to.name}.gallery.npz"))
    surveyor = Surveyor(to / "facts", folder, safety_checker, batch_size)
    report = clean_copy(dataset, to, surveyor, gallery, Rules(near_duplicate, any_caption, contaminated))
    if as_json:
        typer.echo(json.dumps(report, indent=2, sort_keys=True))
        return
    left_out = ", ".join(f"{count:,} {name}" for name, count in report["left_out"].items()) or "nothing"
    echo(f"{report['accepted']:,} triplets in {to}, left out: {left_out}; which and why: {to / FINDINGS}")


def plots(dataset: Dataset, to: Annotated[Path, typer.Option("--to", help="Folder for a PNG of each filter.")]) -> None:
    """Plot each filter's scores, its floor, and what would be kept at another."""
    from compodiff.cleaning.threshold_plots import threshold_plots
    from compodiff.params import load_params
    from compodiff.storage import shards

    floors = load_params(project_root() / "params.yaml").synthesis.floors
    for path in threshold_plots(shards.read_table(dataset / "manifest.parquet"), floors, to):
        echo(path)


def _gallery(benchmarks: list[Path], split: str | None, encoder: Path, batch_size: int, kept: Path) -> "Gallery":
    """The benchmarks' pictures, embedded once for the same files and encoder and kept in the file `kept`."""
    import hashlib

    from compodiff.cleaning.survey import Gallery
    from compodiff.encoders import load_encoder

    files = [path for folder in benchmarks for path in (folder, *sorted(folder.rglob("*"))) if path.exists()]
    stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    manifest = (encoder / "manifest.json").read_bytes() if (encoder / "manifest.json").is_file() else b""
    identity = hashlib.sha256(manifest + repr((stamps, split)).encode()).hexdigest()
    if (earlier := Gallery.load(kept, identity)) is not None:
        return earlier
    pictures = (named for folder in benchmarks for named in _pictures(folder, split))
    gallery = Gallery.embedded(pictures, load_encoder(encoder).for_many(), batch_size)
    gallery.save(kept, identity)
    return gallery


def _pictures(folder: Path, split: str | None) -> Iterator[tuple[str, "Image.Image"]]:
    """All pictures of a benchmark, or those that the queries of a split name."""
    from tqdm import tqdm

    from compodiff.benchmarks.datasets.loading import Choices, load_benchmark
    from compodiff.benchmarks.datasets.pictures import GalleryFolder, Pictures
    from compodiff.errors import InputInvalid
    from compodiff.storage.names import printable

    pictures: Pictures
    if split is None:
        pictures = gallery = GalleryFolder.scan(folder)
        names = gallery.ids
    else:
        (part,) = load_benchmark("triplets", folder, split, Choices())
        pictures = part.pictures
        names = tuple(dict.fromkeys((*(query.reference for query in part.queries), *part.ranked_pictures)))
    if not names:
        raise InputInvalid(f"the benchmark {folder} holds no picture; name the folder of its pictures")
    for name in tqdm(names, f"embedding {printable(folder.name)}", unit=" pictures", disable=None):
        yield f"{folder}/{name}", pictures.read(name)
