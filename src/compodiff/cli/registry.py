"""`compodiff register`, `sign`, `behaviour`, `promote` and `rollback`: who is challenger, and who is champion."""

from pathlib import Path
from typing import Annotated

import typer

from compodiff.cli.output import Column, echo, print_table
from compodiff.errors import InputInvalid, PromotionRefused
from compodiff.project import find_project_root
from compodiff.search.locate import CHAMPION

_COLUMNS: tuple[Column, ...] = (("case", "left"), ("kind", "left"), ("outcome", "left"), ("measured", "left"))
app = typer.Typer()


@app.command("register")
def register(
    model: Annotated[
        str, typer.Argument(help="A model of `compodiff finetune`, `adapt` or `get`: its folder, or its name.")
    ],
    result: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE: figures on benchmark NAME, of `benchmark run --json FILE`; a fine-tuned model has its own."
        ),
    ] = None,
) -> None:
    """Register a model that the pipeline did not train as the challenger; `compodiff promote` puts it to its gate."""
    from compodiff.search.locate import find_model_parts
    from compodiff.stages.finetuned import is_finetuned, register_finetuned
    from compodiff.stages.register_folder import register_folder
    from compodiff.tracking.figures import list_results

    project, results = find_project_root(), dict(_split(each) for each in result or ())
    if not is_finetuned(Path(model)):
        parts = find_model_parts(model)
        version = register_folder(project, parts, results or list_results(parts.folder / "metrics"))
    elif results:
        raise InputInvalid(f"{model} is a fine-tuned model and has its figures already; leave out --result")
    else:
        version = register_finetuned(project, Path(model))
    echo(f"version {version.number} is challenger now; put it to the gate: compodiff promote")


@app.command("sign")
def sign(
    model: Annotated[str, typer.Argument(help="A model: a folder with composed/ and encoder/, an alias, or a name.")],
) -> None:
    """Write down what a model's files are (chain.json), and sign it with the key of COMPODIFF_SIGNING_KEY."""
    from compodiff.search.locate import find_model_parts
    from compodiff.signing.chain import CHAIN, sign_folder
    from compodiff.signing.keys import SIGNING

    folder = find_model_parts(model).folder
    signed = sign_folder(folder)
    echo(f"{folder / CHAIN}: {'signed' if signed else f'written, not signed, as {SIGNING} names no key'}")


@app.command("behaviour")
def show_behaviour(
    model: Annotated[str, typer.Option(help="An alias, a version, or a folder with an index.")] = CHAMPION,
    cases: Annotated[
        Path | None, typer.Option(help="Default: `promotion.behaviour` of params.yaml.", show_default=False)
    ] = None,
) -> None:
    """Ask a model the cases that a challenger has to pass, and show what came of each."""
    from compodiff.behaviour.asking import ask_cases
    from compodiff.behaviour.cases import read_cases
    from compodiff.params import load_params
    from compodiff.search.searcher import Searcher

    if cases is None:
        root = find_project_root()
        named = load_params(root / "params.yaml").promotion.behaviour
        if named is None:
            raise InputInvalid("params.yaml names no file of cases; name one by --cases, or as promotion.behaviour")
        cases = root / named
    asked = read_cases(cases)
    outcomes = ask_cases(Searcher.load(model), asked)
    rows = [(each.name, each.kind, "passed" if each.passed else "FAILED", each.measured) for each in outcomes]
    print_table(_COLUMNS, rows, has_lines=False)
    if failed := [each.name for each in outcomes if not each.passed]:
        raise PromotionRefused(f"{len(failed)} of {len(outcomes)} cases of {cases} fail: {', '.join(failed)}")


@app.command("promote")
def promote() -> None:
    """Make the model registered last champion, if it passes the gate of params.yaml."""
    from compodiff.behaviour.gate import make_behaviour_gate
    from compodiff.params import load_params
    from compodiff.tracking import promotion

    root = find_project_root()
    params = load_params(root / "params.yaml")
    change = promotion.promote(
        root,
        params.gates,
        finetuned_gates=params.finetuned_gates,
        min_relation_queries=params.evaluation.min_relation_queries,
        examine=make_behaviour_gate(root, params),
    )
    if change.made:
        echo(f"version {change.after} is champion now; before it: {change.before or 'none'}")
    else:
        echo(f"version {change.after} is champion already")


@app.command("rollback")
def roll_back(
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    instead_of: Annotated[str | None, typer.Option(help="Only if this version is still champion.")] = None,
) -> None:
    """Make the previous champion champion again; the one it replaces is not promoted again."""
    from compodiff.tracking import promotion

    change = promotion.roll_back(find_project_root(), reason, instead_of=instead_of)
    if change.made:
        echo(f"version {change.after} is champion again, instead of {change.before or 'one that was deleted'}")
    elif instead_of:
        echo(f"version {change.after} is champion, and {instead_of} is not: nothing was changed")
    else:
        echo(f"version {change.after} is champion already: another rollback came first")


@app.command("versions")
def compare_versions(
    challenger: Annotated[str | None, typer.Argument(help="Number of a version. Default: the challenger.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write a page, with each relation and what the gate says.")
    ] = None,
) -> None:
    """Compare a version with the champion, or the champion with the one before it, on every benchmark."""
    from compodiff.inspection import versions
    from compodiff.params import load_params

    root = find_project_root()
    contests = versions.compare_versions(root, load_params(root / "params.yaml"), challenger, html)
    columns: list[Column] = [("benchmark", "left"), ("metric", "left")]
    columns += [(name, "right") for name in ("challenger", "champion", "difference (95 %)")]
    print_table(columns, versions.list_rows(contests), has_lines=False)
    if html is not None:
        echo(f"page: {html}")


def _split(said: str) -> tuple[str, Path]:
    """Return name and file of NAME=FILE."""
    name, sign, file = said.partition("=")
    if not (name and sign and file):
        raise InputInvalid(f"--result {said} is not NAME=FILE, such as emoji=emoji.json")
    return name, Path(file)
