"""`compodiff captions`: caption pairs from any caption set, by keywords or by a language model."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compodiff.cli.output import echo

if TYPE_CHECKING:
    from compodiff.params import CaptionParams

Captions = Annotated[Path, typer.Argument(help="A .txt, .parquet, .jsonl or webdataset .tar, or a folder of them.")]
To = Annotated[Path, typer.Option("--to", help="The parquet file of caption pairs to write.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Default: captions.seed of params.yaml.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ENCODER = "artifacts/encoder"


app = typer.Typer(name="captions", help="Make pairs: a caption, an edit, the edited caption.", no_args_is_help=True)


@app.command("keywords")
def write_by_keywords(
    captions: Captions,
    *,
    to: To,
    encoder: Annotated[
        Path | None, typer.Option("--encoder", help="Whose text similarity chooses. Default: the project's.")
    ] = None,
    tagger: Annotated[str | None, typer.Option("--tagger", help="Another spaCy pipeline: package or folder.")] = None,
    work: Annotated[Path | None, typer.Option("--work", help="Tags and embeddings, kept. Default: TO.work.")] = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Replace, add or remove a term, or change an attribute, wherever a caption allows it (params: captions)."""
    from compodiff.captions.by_keywords import make_keyword_pairs
    from compodiff.language.terms import TAGGER
    from compodiff.project import find_project_root

    chosen = encoder or find_project_root() / ENCODER
    summary = make_keyword_pairs(captions, to, _read_params(seed), encoder=chosen, tagger=tagger or TAGGER, work=work)
    _show(summary, to, as_json)


@app.command("fine-tune")
def fine_tune(
    rows: Annotated[Path, typer.Argument(help="Edits: .jsonl or .parquet (input, edit, output), or caption pairs.")],
    *,
    model: Annotated[str, typer.Option("--model", help="Folder or hub id of a causal language model.")],
    to: Annotated[Path, typer.Option("--to", help="The folder to write the model to.")],
    lora: Annotated[bool, typer.Option("--lora", help="Train low-rank adapters; they are merged when done.")] = False,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Teach a language model to write edits; run again after a kill, it goes on from its last checkpoint."""
    from compodiff.captions.language_model import tune_language_model

    _show(tune_language_model(rows, to, _read_params(seed), model=model, lora=lora), to, as_json)


@app.command("write")
def write(
    captions: Captions,
    *,
    model: Annotated[str, typer.Option("--model", help="A folder after `captions fine-tune`, or a hub id.")],
    to: To,
    wanted: Annotated[int, typer.Option("-n", min=1, help="Caption pairs; fewer where the captions end.")],
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Let a language model write edits; rows that do not parse or change nothing are dropped and counted."""
    from compodiff.captions.by_language_model import write_pairs

    _show(write_pairs(captions, to, _read_params(seed), model=model, wanted=wanted), to, as_json)


def _read_params(seed: int | None) -> "CaptionParams":
    from compodiff.params import load_params
    from compodiff.project import find_project_root

    params = load_params(find_project_root() / "params.yaml").captions
    return params if seed is None else params.model_copy(update={"seed": seed})


def _show(summary: dict[str, Any], to: Path, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(summary | {"to": str(to)}))
        return
    echo(to)
    for name, value in summary.items():
        shown = ", ".join(f"{each} {count}" for each, count in value.items()) if isinstance(value, dict) else value
        echo(f"  {name.replace('_', ' ')}: {shown}")
