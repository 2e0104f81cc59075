"""`compodiff captions`: caption pairs from any caption set, by keywords or by a language model."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compodiff.cli.output import echo

if TYPE_CHECKING:
    from compodiff.params import CaptionParams

Captions = Annotated[Path, typer.Argument(help="A .txt, .parquet or webdataset .tar, or a folder of them.")]
To = Annotated[Path, typer.Option("--to", help="The parquet file of caption pairs to write.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Default: captions.seed of params.yaml.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ENCODER = "artifacts/encoder"


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    group = typer.Typer(help="Make caption pairs: a caption, an edit, the edited caption.", no_args_is_help=True)
    group.command("keywords")(keywords)
    group.command("fine-tune")(fine_tune)
    group.command("write")(write)
    app.add_typer(group, name="captions")


def keywords(
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
    from compodiff.captions.by_keywords import WORK, KeywordRun
    from compodiff.encoders import load_encoder
    from compodiff.language.terms import TAGGER, Tagger
    from compodiff.pairs.caption_file import KIND
    from compodiff.project import project_root
    from compodiff.storage.ownership import require_replaceable_file
    from compodiff.storage.shards import require_claimable

    require_replaceable_file(to, KIND)
    require_claimable(work or _beside(to, "work"), WORK)
    run = KeywordRun(captions, work or _beside(to, "work"), _params(seed))
    network = load_encoder(encoder or project_root() / ENCODER).for_many()  # a wrong one shows before hours of tagging
    tally = run.tag(Tagger(tagger or TAGGER))
    replacements = run.replacements(network)
    written = run.write(replacements, to)
    _show({"captions": tally, "terms": len(replacements.choices), **written}, to, as_json)


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
    from tqdm import tqdm

    from compodiff.captions import language_model as lm
    from compodiff.captions.edit_rows import read_edit_rows
    from compodiff.captions.tuning_checkpoint import LANGUAGE_MODEL, TuningCheckpoint
    from compodiff.storage.ownership import require_apart, require_replaceable_folder

    params = _params(seed)
    require_apart(to, Path(model), rows)
    require_replaceable_folder(to, LANGUAGE_MODEL)
    numbers = params.language_model
    network, tokenizer = lm.load_language_model(model, to_train=True)
    reading = tqdm(read_edit_rows(rows), desc="reading", unit=" rows", disable=None)
    tokenized = lm.RowTokens(reading, tokenizer, lm.longest_row(network, numbers))
    if lora:
        network = lm.with_lora(network, numbers.lora_rank, seed=params.seed)
    training = {"model": model, "lora": lora, "rows": tokenized.digest()}
    checkpoint = TuningCheckpoint(
        _beside(to, "checkpoint"), training | {"seed": params.seed, "params": numbers.model_dump()}
    )
    steps, losses = lm.total_steps(tokenized, numbers), []
    with tqdm(total=steps, desc="fine-tuning", unit=" steps", disable=None) as bar:
        for step, loss in lm.fine_tune(network, tokenized, numbers, checkpoint, seed=params.seed):
            losses.append(loss)
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}")
    lm.save_language_model(network, tokenizer, to)
    checkpoint.remove()
    last = losses[-20:]
    summary = {"rows": len(tokenized.rows), "rows_too_long": tokenized.too_long, "steps": steps}
    _show(summary | {"loss": round(sum(last) / len(last), 4)}, to, as_json)


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
    from tqdm import tqdm

    from compodiff.captions.by_language_model import WORK, WritingRun
    from compodiff.captions.language_model import Writer, load_language_model
    from compodiff.pairs.caption_file import KIND
    from compodiff.storage.ownership import require_replaceable_file
    from compodiff.storage.shards import require_claimable

    require_replaceable_file(to, KIND)
    require_claimable(_beside(to, "work"), WORK)
    params = _params(seed)
    network, tokenizer = load_language_model(model, to_train=False)
    weights = sorted(Path(model).glob("*.safetensors"))
    identity = {"name": model, "files": [[it.name, it.stat().st_size, it.stat().st_mtime_ns] for it in weights]}
    run = WritingRun(captions, _beside(to, "work"), params, identity)
    with tqdm(total=wanted, desc="writing", unit=" pairs", disable=None) as bar:
        writer = Writer(network, tokenizer, params.language_model, seed=params.seed)
        summary = run.write(writer, to, wanted, bar.update)
    _show(summary, to, as_json)


def _params(seed: int | None) -> "CaptionParams":
    from compodiff.params import load_params
    from compodiff.project import project_root

    params = load_params(project_root() / "params.yaml").captions
    return params if seed is None else params.model_copy(update={"seed": seed})


def _beside(to: Path, suffix: str) -> Path:
    return to.with_name(f"{to.name}.{suffix}")


def _show(summary: dict[str, Any], to: Path, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(summary | {"to": str(to)}))
        return
    echo(to)
    for name, value in summary.items():
        shown = ", ".join(f"{each} {count}" for each, count in value.items()) if isinstance(value, dict) else value
        echo(f"  {name.replace('_', ' ')}: {shown}")
