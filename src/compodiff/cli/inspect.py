"""`compodiff inspect` and `compodiff card`: look at a set, rate it, describe it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from compodiff.cli.output import Column, echo, print_table

Dataset = Annotated[Path, typer.Argument(metavar="SET", help="Folder of a set, such as artifacts/sets/scenes.")]
Validated = Annotated[
    Path | None,
    typer.Option(
        "--validated",
        help="What validate wrote. Default: artifacts/validation/NAME, if it is there.",
        show_default=False,
    ),
]


app = typer.Typer()


@app.command("inspect")
def inspect(
    dataset: Dataset,
    *,
    html: Annotated[Path | None, typer.Option("--html", help="Write a contact sheet here.", show_default=False)] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="Rows on the sheet, relations in turns.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 17,
    validated: Validated = None,
    ratings: Annotated[list[Path] | None, typer.Option(help="Sum up exports of the sheet; repeat it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
) -> None:
    """Draw rows of a set onto a page to sort, filter and rate, or sum up what was rated."""
    from compodiff.errors import InputInvalid
    from compodiff.inspection.drawing import draw_rows, select_rows
    from compodiff.inspection.ratings import read_ratings, summarise_ratings
    from compodiff.inspection.sheet import write_sheet
    from compodiff.storage.ownership import PAGE, require_replaceable_file

    if not html and not ratings:
        raise InputInvalid("nothing to do; give --html FILE for a sheet, or --ratings FILE for a summary")
    require_replaceable_file(html, PAGE)
    if html:
        drawn, total = draw_rows(dataset, validated, count, seed)
        write_sheet(dataset, drawn, html)
        echo(f"{len(drawn):,} of {total:,} rows in {html}")
    if ratings:
        rated = read_ratings(ratings)
        own = select_rows(dataset, validated, lambda rows: rows["key"].isin(rated["key"]).to_numpy())
        found = summarise_ratings(rated, own)
        if as_json:
            typer.echo(json.dumps(found, indent=2, allow_nan=False))
        else:
            _print(found)


@app.command("card")
def render_card(
    dataset: Dataset,
    *,
    to: Annotated[Path, typer.Option("--to", help="Folder for README.md, plots and licences.")],
    name: Annotated[str | None, typer.Option(help="Of the dataset. Default: its folder's.", show_default=False)] = None,
    attribution: Annotated[
        Path | None,
        typer.Option(help="Markdown: whose the data are. Default: as the set says."),
    ] = None,
    licence: Annotated[
        list[str] | None, typer.Option(help="As the hub names it, such as cc-by-4.0; repeat it.")
    ] = None,
    validated: Validated = None,
) -> None:
    """Write a dataset card: sources, licences, acceptance, statistics as plots."""
    from compodiff.inspection.card import find_origin, write_card

    write_card(dataset, to, find_origin(dataset, name, attribution, tuple(licence or ())), validated)
    echo(to / "README.md")


def _print(found: dict[str, Any]) -> None:
    titles = ("relation", "rated", "good", "interval", "agrees with the filters", "interval", "faults")
    rows = []
    for name, sums in {**found["relations"], "all": found["all"]}.items():
        faults = ", ".join(f"{fault.replace('_', ' ')} {count}" for fault, count in sums["faults"].items())
        good, agrees = sums["good_interval"], sums["agrees_with_filters_interval"]
        shares = (
            _format_share(sums["good"]),
            _format_interval(good),
            _format_share(sums["agrees_with_filters"]),
            _format_interval(agrees),
        )
        rows.append((name.replace("_", " "), str(sums["rated"]), *shares, faults))
    columns: list[Column] = [(title, "left" if title in ("relation", "faults") else "right") for title in titles]
    print_table(columns, rows, title="what people said, with 95 % intervals")
    for pair in found["raters"]:
        beyond = "" if pair["kappa"] is None else f", kappa {pair['kappa']:.2f}"
        first, second = pair["raters"]
        share = f"{_format_share(pair['agree'])} ({_format_interval(pair['agree_interval'])})"
        echo(f"{first} and {second} agree on {share} of {pair['both_rated']} triplets{beyond}")


def _format_share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _format_interval(interval: list[float]) -> str:
    return f"{100 * interval[0]:.1f} - {100 * interval[1]:.1f}"
