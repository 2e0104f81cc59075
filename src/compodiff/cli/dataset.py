"""`compodiff dataset clean|mask|plots SET`: what should not be in a set, its masks, and what its filters cost."""

import json
from pathlib import Path
from typing import Annotated

import typer

from compodiff.cli.output import echo
from compodiff.project import find_project_root

Dataset = Annotated[Path, typer.Argument(metavar="SET", help="Folder of a set, such as artifacts/sets/scenes.")]
Benchmark = Annotated[
    list[Path] | None,
    typer.Option(
        "--benchmark", help="Folder of a benchmark; none of its pictures may be in the clean set. May be repeated."
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


app = typer.Typer(name="dataset", help="Clean a set, give it masks, and see what its filters do.", no_args_is_help=True)


@app.command("clean")
def clean(
    dataset: Dataset,
    *,
    to: Annotated[Path, typer.Option("--to", help="Folder of the clean set; SET and its pictures stay as they are.")],
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Write SET without near-duplicates, pictures of benchmarks, unsafe and unreadable ones; copies no picture."""
    from compodiff.cleaning.clean import FINDINGS
    from compodiff.cleaning.clean import clean as clean_set
    from compodiff.cleaning.findings import CleaningRules
    from compodiff.cleaning.gallery import embed_benchmarks
    from compodiff.cleaning.survey import Surveyor

    folder = encoder or find_project_root() / "artifacts" / "encoder"
    kept = to.with_name(f"{to.name}.gallery.npz")
    gallery = embed_benchmarks(benchmark or [], split, folder, batch_size, kept)
    surveyor = Surveyor(str(dataset), to / "facts", folder, safety_checker, batch_size)
    report = clean_set(to, surveyor, gallery, CleaningRules(near_duplicate, any_caption, contaminated))
    if as_json:
        typer.echo(json.dumps(report, indent=2, sort_keys=True))
        return
    left_out = ", ".join(f"{count:,} {name}" for name, count in report["left_out"].items()) or "nothing"
    echo(f"{report['accepted']:,} rows in {to}, left out: {left_out}; which and why: {to / FINDINGS}")


@app.command("mask")
def mask(
    dataset: Annotated[str, typer.Argument(metavar="SET", help="A set of pictures: its folder, or address.")],
    *,
    to: Annotated[Path, typer.Option("--to", help="Folder of the new set; it refers to the same pictures.")],
    clipseg: Annotated[str, typer.Option(help="CLIPSeg's folder, name or hub id.")] = "clipseg",
    revision: Annotated[str | None, typer.Option(help="Commit of a hub id.", show_default=False)] = None,
    threshold: Annotated[float, typer.Option(help="Mean probability of a cell from which it is masked.")] = 0.5,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="A triplet's pictures are equal but for the edit: mask what comes, too.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Pictures that CLIPSeg looks at at a time.", min=1)] = 32,
) -> None:
    """Write SET with masks for the masked task, where CLIPSeg finds what a row's texts name; copies no picture."""
    from compodiff.cleaning.masking import Masker
    from compodiff.cleaning.masking import mask as mask_set
    from compodiff.params import MaskParams

    if not 0 < threshold < 1:
        raise typer.BadParameter(f"{threshold} is not between 0 and 1", param_hint="--threshold")
    params = MaskParams(clipseg=clipseg, revision=revision, threshold=threshold, batch_size=batch_size)
    masked, rows = mask_set(Masker(dataset, to, params, aligned))
    echo(f"{masked:,} of {rows:,} rows in {to} have a mask")


@app.command("plots")
def plot_filters(
    dataset: Dataset,
    *,
    to: Annotated[Path, typer.Option("--to", help="Folder for a PNG of each filter.")],
    validated: Annotated[
        Path | None, typer.Option(help="What validate wrote. Default: artifacts/validation/NAME.", show_default=False)
    ] = None,
) -> None:
    """Plot each filter's scores, its floor, and what would be kept at another."""
    from compodiff.cleaning.threshold_plots import plot_thresholds
    from compodiff.errors import InputInvalid
    from compodiff.validation.reading import read_floors, read_validated

    rows, floors = read_validated(dataset, validated), read_floors(dataset)
    if floors is None:
        raise InputInvalid(f"params.yaml gives the set {dataset} no floors; give it some, and run: dvc repro")
    for path in plot_thresholds(rows, floors, to):
        echo(path)
