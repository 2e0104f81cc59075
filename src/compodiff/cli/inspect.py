"""`compodiff inspect` and `compodiff card`: look at a dataset of triplets, rate it, describe it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compodiff.cli.output import Column, echo, print_table
from compodiff.project import project_root

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from PIL import Image

Dataset = Annotated[Path, typer.Argument(help="A folder of triplets: shards and manifest.parquet.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("inspect")(inspect)
    app.command("card")(card)


def inspect(
    dataset: Dataset,
    *,
    html: Annotated[Path | None, typer.Option("--html", help="Write a contact sheet here.", show_default=False)] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="Triplets on the sheet, relations in turns.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 17,
    ratings: Annotated[list[Path] | None, typer.Option(help="Sum up exports of the sheet; repeat it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
) -> None:
    """Draw triplets onto a page to sort, filter and rate, or sum up what was rated."""
    from compodiff.errors import InputInvalid
    from compodiff.inspection.drawing import draw, read_manifest, with_pictures
    from compodiff.inspection.ratings import read_ratings, summary
    from compodiff.inspection.sheet import sheet
    from compodiff.storage.atomic import atomic_path
    from compodiff.storage.ownership import PAGE, require_replaceable_file

    if not html and not ratings:
        raise InputInvalid("nothing to do; give --html FILE for a sheet, or --ratings FILE for a summary")
    require_replaceable_file(html, PAGE)
    rows = read_manifest(dataset)
    if html:
        elsewhere, attribution = _catalogue()
        shown = with_pictures(dataset, draw(rows, count, seed), elsewhere)
        page = sheet(dataset.resolve().name, shown, _floors(dataset), attribution)
        with atomic_path(html, PAGE) as temporary:
            temporary.write_text(page, encoding="utf-8")
        echo(f"{len(shown):,} of {len(rows):,} triplets in {html}")
    if ratings:
        found = summary(read_ratings(ratings), rows)
        if as_json:
            typer.echo(json.dumps(found, indent=2, allow_nan=False))
        else:
            _print(found)


def card(
    dataset: Dataset,
    *,
    to: Annotated[Path, typer.Option("--to", help="Folder for README.md, plots and licences.")],
    name: Annotated[str | None, typer.Option(help="Of the dataset. Default: its folder's.", show_default=False)] = None,
    attribution: Annotated[
        Path | None,
        typer.Option(help="Markdown: whose the data are. Default: the catalogue's, if its pictures are shown."),
    ] = None,
    licence: Annotated[
        list[str] | None, typer.Option(help="As the hub names it, such as cc-by-4.0; repeat it.")
    ] = None,
) -> None:
    """Write a dataset card: sources, licences, acceptance, statistics as plots."""
    from compodiff.errors import InputInvalid
    from compodiff.inspection.card import Origin, write_card

    said, texts = "", None
    if attribution is not None:
        if not attribution.is_file():
            raise InputInvalid(f"{attribution} is not there; give a Markdown file")
        said = attribution.read_text(encoding="utf-8")
    elif not (dataset / "source.json").exists() and (data := _data()) is not None:
        said, texts = (data / "ATTRIBUTION.md").read_text(encoding="utf-8"), data / "licences"
    name = name or dataset.resolve().name
    write_card(dataset, to, Origin(name, said, tuple(licence or ()), texts, _floors(dataset)))
    echo(to / "README.md")


def _data() -> Path | None:
    """The catalogue of the project that this is run in, if there is one."""
    from compodiff.errors import InputInvalid

    try:
        data = project_root() / "data"
    except InputInvalid:
        return None
    return data if (data / "ATTRIBUTION.md").is_file() else None


def _catalogue() -> "tuple[Callable[[str], Image.Image | None], str]":
    """Pictures of rejected triplets, which no shard has, and whose they are."""
    from compodiff.catalogue.pictures import Catalogue

    data = _data()
    if data is None:
        return lambda _: None, ""
    catalogue = Catalogue.load(data)
    known = set(catalogue.pictures.index)
    attribution = "Emoji: OpenMoji (CC BY-SA 4.0); Twemoji, copyright Twitter, Inc and other contributors (CC BY 4.0)."
    return lambda name: catalogue.read(name) if name in known else None, attribution


def _floors(dataset: Path) -> "Mapping[str, float]":
    """What the filters asked for when the dataset was made."""
    path = dataset / "fingerprint.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    made: dict[str, Any] = content.get("params") or content.get("importer") or {}
    return {name: float(value) for name, value in made.get("floors", {}).items()}


def _print(found: dict[str, Any]) -> None:
    titles = ("relation", "rated", "good", "interval", "agrees with the filters", "interval", "faults")
    rows = []
    for name, sums in {**found["relations"], "all": found["all"]}.items():
        faults = ", ".join(f"{fault.replace('_', ' ')} {count}" for fault, count in sums["faults"].items())
        good, agrees = sums["good_interval"], sums["agrees_with_filters_interval"]
        shares = (_share(sums["good"]), _range(good), _share(sums["agrees_with_filters"]), _range(agrees))
        rows.append((name.replace("_", " "), str(sums["rated"]), *shares, faults))
    columns: list[Column] = [(title, "left" if title in ("relation", "faults") else "right") for title in titles]
    print_table(columns, rows, title="what people said, with 95 % intervals")
    for pair in found["raters"]:
        beyond = "" if pair["kappa"] is None else f", kappa {pair['kappa']:.2f}"
        first, second = pair["raters"]
        share = f"{_share(pair['agree'])} ({_range(pair['agree_interval'])})"
        echo(f"{first} and {second} agree on {share} of {pair['both_rated']} triplets{beyond}")


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _range(interval: list[float]) -> str:
    return f"{100 * interval[0]:.1f} - {100 * interval[1]:.1f}"
