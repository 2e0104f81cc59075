"""Teach a language model to write edits: from files of rows to a model's folder."""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from compodiff.captions import language_model as lm
from compodiff.captions.edit_rows import read_edit_rows
from compodiff.captions.tuning_checkpoint import LANGUAGE_MODEL, TuningCheckpoint
from compodiff.params import CaptionParams
from compodiff.storage.ownership import require_apart, require_replaceable_folder

_LAST = 20  # steps whose mean loss is reported


def tune_language_model(rows: Path, to: Path, params: CaptionParams, *, model: str, lora: bool) -> dict[str, Any]:
    """Fine-tune `model`, a folder or hub id, on a file of rows; after a kill it goes on from its last checkpoint.

    Returns:
        rows, rows_too_long, steps, and the mean loss of the last steps.

    Raises:
        InputInvalid: `to` is somebody's, or there are fewer rows than a batch.
        CheckpointMismatch: the checkpoint beside `to` is of another training.
        ResourceUnavailable: there is no such model, or the GPU's memory does not hold one row.
    """
    require_apart(to, Path(model), rows)
    require_replaceable_folder(to, LANGUAGE_MODEL)
    numbers = params.language_model
    network, tokenizer = lm.load_language_model(model, to_train=True)
    reading = tqdm(read_edit_rows(rows), desc="reading", unit=" rows", disable=None)
    tokenized = lm.RowTokens(reading, tokenizer, lm.longest_row(network, numbers))
    if lora:
        network = lm.with_lora(network, numbers.lora_rank, seed=params.seed)
    training = {"model": model, "lora": lora, "rows": tokenized.digest()}
    training |= {"seed": params.seed, "params": numbers.model_dump()}
    checkpoint = TuningCheckpoint(to.with_name(f"{to.name}.checkpoint"), training)
    steps, losses = lm.total_steps(tokenized, numbers), []
    with tqdm(total=steps, desc="fine-tuning", unit=" steps", disable=None) as bar:
        for step, loss in lm.fine_tune(network, tokenized, numbers, checkpoint, seed=params.seed):
            losses.append(loss)
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}")
    lm.save_language_model(network, tokenizer, to)
    checkpoint.remove()
    last = losses[-_LAST:]
    counts = {"rows": len(tokenized.rows), "rows_too_long": tokenized.too_long, "steps": steps}
    return counts | {"loss": round(sum(last) / len(last), 4)}
