"""`compodiff push`: a model or a set, with its card, onto the hub."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compodiff.cli.output import echo
from compodiff.errors import InputInvalid

if TYPE_CHECKING:
    from compodiff.hub.known import Address
    from compodiff.publishing.push import Pushed

app = typer.Typer()


@app.command("push")
def push(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|SET", help="A model: an alias, or a folder such as artifacts; or a set's folder."
        ),
    ],
    *,
    to: Annotated[str, typer.Option("--to", help="Where at the hub: ORG/NAME.")],
    licence: Annotated[
        list[str] | None,
        typer.Option(help="As the hub names it, such as apache-2.0. Of a set, repeat it. Default: as the set says."),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="A place that is made now is for its owner alone.")
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(
            help="Of a model: folder with metrics/ and sets/. Default: its own; of an alias, artifacts.",
            show_default=False,
        ),
    ] = None,
    validated: Annotated[
        Path | None,
        typer.Option(help="Of a set: what validate said of it; only accepted rows are published.", show_default=False),
    ] = None,
    attribution: Annotated[
        Path | None, typer.Option(help="Of a set: Markdown that says whose it is. Default: as the set says.")
    ] = None,
    card: Annotated[bool, typer.Option("--card", help="Of a model: print its card, and publish nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Publish a model or a set with its card; log in to the hub first (hf auth login, or HF_TOKEN).

    The card of a model says what was measured on what, its dials, digests and licences; that of a set is the one of
    `compodiff card`. Others fetch it by `compodiff get`.
    """
    from compodiff.publishing.push import parse_target

    if (Path(what) / "set.json").is_file():
        address = parse_target(to, "dataset")
        _report(_push_set(Path(what), address, validated, attribution, licence, is_private=private), as_json=as_json)
        return
    address = parse_target(to, "model")
    if len(licence or ()) != 1:
        raise InputInvalid("say under which licence the weights are given, such as --licence apache-2.0")
    from compodiff.project import find_project_root
    from compodiff.publishing.model_card import render_card
    from compodiff.publishing.model_facts import read_facts
    from compodiff.publishing.push import push_model
    from compodiff.search.locate import find_model_parts

    parts = find_model_parts(what)
    own = find_project_root() / "artifacts" if what.startswith("models:") else parts.folder
    facts = read_facts(parts, address.hub_id, (licence or [""])[0], results or own)
    for file in facts.left_out:
        echo(f"{file} measures other weights than these and is left out; measure them by: dvc repro evaluate", err=True)
    if card:
        for line in render_card(facts).splitlines():
            echo(line)
        return
    _report(push_model(parts, facts, address, is_private=private), as_json=as_json)


def _push_set(
    dataset: Path,
    address: "Address",
    validated: Path | None,
    attribution: Path | None,
    licence: list[str] | None,
    *,
    is_private: bool,
) -> "Pushed":
    from compodiff.inspection.card import find_origin
    from compodiff.publishing.push import push_set

    origin = find_origin(dataset, address.hub_id.partition("/")[2], attribution, tuple(licence or ()))
    return push_set(dataset, origin, address, validated=validated, is_private=is_private)


def _report(pushed: "Pushed", *, as_json: bool) -> None:
    from compodiff.hub.fetching import format_bytes

    address = pushed.address
    name = address.hub_id if address.kind == "model" else f"datasets/{address.hub_id}"
    if as_json:
        told = {"hub_id": name, "revision": pushed.commit, "files": pushed.files, "bytes": pushed.size}
        typer.echo(json.dumps(told, indent=1))
        return
    count = f"{format_bytes(pushed.size)} in {len(pushed.files)} files"
    echo(f"{name} at {pushed.commit[:12]}: {count}; others fetch it by: compodiff get {name}")
