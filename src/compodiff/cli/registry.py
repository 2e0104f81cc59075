"""`compodiff register`, `promote` and `rollback`: who is challenger, and who is champion."""

from pathlib import Path
from typing import Annotated

import typer

from compodiff.cli.output import echo
from compodiff.project import find_project_root

app = typer.Typer()


@app.command("promote")
def promote() -> None:
    """Make the model registered last champion, if it passes the gate of params.yaml."""
    from compodiff.params import load_params
    from compodiff.tracking import promotion

    root = find_project_root()
    params = load_params(root / "params.yaml")
    queries = params.evaluation.min_relation_queries
    change = promotion.promote(root, params.gates, finetuned_gates=params.finetuned_gates, min_relation_queries=queries)
    if change.made:
        echo(f"version {change.after} is champion now; before it: {change.before or 'none'}")
    else:
        echo(f"version {change.after} is champion already")


@app.command("register")
def register(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What compodiff finetune wrote.")],
) -> None:
    """Register a fine-tuned model as the challenger; `compodiff promote` then puts it to its gate."""
    from compodiff.stages.finetuned import register_finetuned

    version = register_finetuned(find_project_root(), folder)
    echo(f"version {version.number} is challenger now; put it to the gate: compodiff promote")


@app.command("rollback")
def roll_back(
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    instead_of: Annotated[str | None, typer.Option(help="Only if this version is still champion.")] = None,
) -> None:
    """Make the previous champion champion again; the one it replaces is not promoted again."""
    from compodiff.tracking import promotion

    change = promotion.roll_back(find_project_root(), reason, instead_of=instead_of)
    if change.made:
        echo(f"version {change.after} is champion again, instead of {change.before}")
    else:
        echo(f"version {change.after} is champion already: another rollback came first")
