"""`compodiff get`: models by name, into the cache that everything uses offline."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compodiff.cli.output import Column, echo, print_table
from compodiff.errors import InputInvalid

if TYPE_CHECKING:
    from compodiff.hub.cache import FetchedModel
    from compodiff.hub.fetching import Offer
    from compodiff.hub.known import Address

_COLUMNS: tuple[Column, ...] = (
    ("name", "left"),
    ("here", "left"),
    ("on disk", "right"),
    ("about", "right"),
    ("licence", "left"),
    ("what for", "left"),
)

app = typer.Typer()


@app.command("get")
def get(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            help="Short names (--list) or hub ids (org/name, datasets/org/name); @revision may follow.",
        ),
    ] = None,
    *,
    show_list: Annotated[
        bool, typer.Option("--list", help="Show what is on this machine and what is known by name.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show size, licence and revision; fetch nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Where the model of compodiff-aesthetic is made. Default: by its name, for --model NAME."),
    ] = None,
) -> None:
    """Fetch models from the hub: this command and `push` alone use the network, and everything else what they fetched.

    Size, licence and revision are shown first. A fetch that was stopped goes on where it stopped, and each file's
    digest is checked against the one that the hub states.
    """
    if show_list:
        _show_list(as_json=as_json)
        return
    if not names:
        raise InputInvalid("name a model, such as clip-l14 or org/name; compodiff get --list shows what is known")
    from compodiff.hub.fetching import fetch_offer, inspect_offer

    addresses = _list_needed(names)
    places = _choose_places(addresses, out)
    offers = [inspect_offer(address) for address in addresses]
    told = [_to_json(offer) for offer in offers]
    if not as_json:
        for offer in offers:
            echo(_describe_offer(offer))
    found = [] if dry_run else [fetch_offer(offer) for offer in offers]
    _fetch_parts(found, as_json=as_json)
    if not as_json:
        for each in found:
            echo(f"{each.name} is here: {each.folder}")
    usable = [_make_usable(each, places.get(each.hub_id)) for each in found]
    if as_json:
        folders: list[str | None] = [str(each) for each in usable] or [None for _ in offers]
        both = [{**each, "folder": folder} for each, folder in zip(told, folders, strict=True)]
        typer.echo(json.dumps(both, indent=1))
        return
    for address in addresses if found else ():
        if place := places.get(address.hub_id):
            echo(f"{address} is made: {place}; use it by: --model {out or place.name}")


def _fetch_parts(found: "list[FetchedModel]", *, as_json: bool) -> None:
    """Fetch the models that encoders of fetched models are made of; which ones, their manifests say."""
    from compodiff.hub.fetching import fetch_offer, inspect_offer
    from compodiff.hub.needs import list_missing_parts

    for address in (address for each in found for address in list_missing_parts(each)):
        offer = inspect_offer(address)
        if not as_json:
            echo(f"its encoder needs {_describe_offer(offer)}")
        fetch_offer(offer)


def _choose_places(addresses: "list[Address]", out: Path | None) -> dict[str, Path]:
    """Return where a model folder will be made of released weights, by their hub id; before anything is fetched."""
    released = [each for each in addresses if each.known is not None and each.known.library == "released"]
    if out is not None and len(released) != 1:
        raise InputInvalid(f"--out {out} is for one model that is made here, such as compodiff-aesthetic; leave it out")
    if not released:
        return {}
    from compodiff.released.model_folder import choose_model_folder

    return {each.hub_id: choose_model_folder(each.known, out) for each in released if each.known is not None}


def _make_usable(found: "FetchedModel", place: Path | None) -> Path:
    """Return the folder of a fetched model; of released weights, `place`, where a model is made of them."""
    if place is None:
        return found.folder
    from compodiff.released.model_folder import make_model_folder

    make_model_folder(found, place)
    return place


def _list_needed(names: list[str]) -> "list[Address]":
    """Return the addresses of models and of those that they need, each once."""
    from compodiff.hub.known import parse_address

    wanted: list[Address] = []
    for name in names:
        address = parse_address(name)
        needs = address.known.needs if address.known else ()
        wanted += [address, *(parse_address(each) for each in needs)]
    return list(dict.fromkeys(wanted))


def _describe_offer(offer: "Offer") -> str:
    from compodiff.hub.fetching import format_bytes

    address, missing = offer.address, offer.count_missing()
    pinned = ", pinned" if address.is_pinned and address.revision else ""
    name = "" if address.name == address.hub_id else f"{address.name}: "
    count = f"{len(offer.files)} file{'' if len(offer.files) == 1 else 's'}"
    return (
        f"{name}{address.hub_id} at {offer.commit[:12]}{pinned}; {format_bytes(offer.size)} in {count}, "
        f"{format_bytes(missing) if missing else 'nothing'} to fetch; licence: {offer.licence}"
    )


def _to_json(offer: "Offer") -> dict[str, object]:
    address = offer.address
    return {
        "name": address.name,
        "hub_id": address.hub_id,
        "revision": offer.commit,
        "pinned": bool(address.revision) and address.is_pinned,
        "licence": offer.licence,
        "bytes": offer.size,
        "bytes_to_fetch": offer.count_missing(),
        "files": [file.name for file in offer.files],
    }


def _show_list(*, as_json: bool) -> None:
    from compodiff.hub.fetching import format_bytes
    from compodiff.hub.listing import list_models

    models = list_models()
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in models], indent=1))
        return
    rows = [
        (
            each.name,
            each.state,
            format_bytes(each.bytes_here) if each.bytes_here else "",
            format_bytes(each.megabytes * 1e6) if each.megabytes else "",
            each.licence,
            each.purpose,
        )
        for each in models
    ]
    print_table(_COLUMNS, rows, has_lines=False)
