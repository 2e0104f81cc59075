"""A causal language model that writes edits: fine-tuning on (caption, edit, edited caption).

    compodiff captions fine-tune ROWS.jsonl --model facebook/opt-6.7b --to artifacts/editor
    compodiff captions write CAPTIONS --model artifacts/editor --to pairs.parquet -n 1000000

A model's folder is what transformers writes, weights as safetensors. Shapes: B rows, L tokens.
"""

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from tqdm import tqdm

from compodiff.captions.edit_rows import EditRow, read_edit_rows
from compodiff.captions.tuning_checkpoint import LANGUAGE_MODEL, TuningCheckpoint
from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.execution.gpu_memory import MemoryBound
from compodiff.hub import find_model_folder
from compodiff.params import CaptionParams, LanguageModelParams
from compodiff.precision import choose_device
from compodiff.storage.atomic import replace_folder
from compodiff.storage.ownership import require_apart, require_replaceable_folder

IGNORED = -100  # label of a token that the loss leaves out
LORA_SCALE = 2  # alpha / rank


def load_language_model(name: str | Path, *, to_train: bool) -> tuple[Any, Any]:
    """Return a causal language model and its tokenizer, of a folder or a hub id; only weights in safetensors.

    Weights that are trained are float32 (small steps vanish in bfloat16); on a GPU others are bfloat16.

    Raises:
        ResourceUnavailable: the hub id is not on this machine, or there are no safetensors.
        InputInvalid: it is neither a folder nor a hub id, or its tokenizer has no end-of-text token.
    """
    from transformers import AutoModelForCausalLM

    folder = find_model_folder(name)
    precision = torch.bfloat16 if torch.cuda.is_available() and not to_train else torch.float32
    _, tokenizer = load_tokenizer(name)
    with _name_faults(name):
        model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, dtype=precision)
    return model.to(choose_device()), tokenizer


def load_tokenizer(name: str | Path) -> tuple[Any, Any]:
    """Return a model's configuration and its tokenizer, of a folder or a hub id.

    Raises:
        ResourceUnavailable: the hub id is not on this machine, or the folder holds no model.
        InputInvalid: it is neither a folder nor a hub id, or its tokenizer has no end-of-text token.
    """
    from transformers import AutoConfig, AutoTokenizer

    folder = find_model_folder(name)
    with _name_faults(name):
        config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    if tokenizer.eos_token_id is None:
        raise InputInvalid(f"the tokenizer of {name} has no end-of-text token; take a model whose tokenizer has one")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return config, tokenizer


@contextmanager
def _name_faults(name: str | Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ResourceUnavailable(f"no language model could be loaded from {name}: {reason}") from error


class RowTokens:
    """Rows of edits as tokens, of which those of the answer count."""

    def __init__(self, rows: Iterable[EditRow], tokenizer: Any, max_tokens: int) -> None:
        """Tokenize rows; those longer than `max_tokens` are left out and counted as `too_long`."""
        self.pad = tokenizer.pad_token_id
        self.rows: list[tuple[list[int], int]] = []  # tokens, and how many of them are the prompt's
        self.too_long = 0
        for row in rows:
            prompt = tokenizer(row.prompt)["input_ids"]
            if prompt and prompt[-1] == tokenizer.eos_token_id:
                prompt.pop()
            answer = tokenizer(row.answer, add_special_tokens=False)["input_ids"]
            if len(prompt) + len(answer) + 1 > max_tokens:
                self.too_long += 1
            else:
                self.rows.append(([*prompt, *answer, tokenizer.eos_token_id], len(prompt)))

    def digest(self) -> str:
        """Return what tells these rows, as these tokens, from others."""
        return hashlib.sha256(repr(self.rows).encode()).hexdigest()

    def make_batch(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Return the rows `numbers`, padded at the right: input_ids, attention_mask, labels, each (B, L)."""
        chosen = [self.rows[number] for number in numbers]
        length = max(len(tokens) for tokens, _ in chosen)
        ids = torch.full((len(chosen), length), self.pad)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
        for row, (tokens, prompt) in enumerate(chosen):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
            labels[row, prompt : len(tokens)] = ids[row, prompt : len(tokens)]
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def fine_tune(
    model: nn.Module, rows: RowTokens, params: LanguageModelParams, checkpoint: TuningCheckpoint, *, seed: int
) -> Iterator[tuple[int, float]]:
    """Train `model` in place on the answers; yield (step, loss) after each step that is not done yet.

    The order of the rows and the dropout come from `seed` and the step alone: a training that was killed and goes on
    from its checkpoint ends with the same weights as one that was not.

    Raises:
        InputInvalid: there are fewer rows than a batch.
        CheckpointMismatch: the checkpoint is of another training.
        ResourceUnavailable: the GPU's memory does not hold one row.
    """
    trained = [(name, it) for name, it in model.named_parameters() if it.requires_grad]
    optimizer = torch.optim.AdamW(
        [it for _, it in trained], lr=params.learning_rate, weight_decay=params.weight_decay, foreach=False
    )
    total = count_steps(rows, params)
    first = checkpoint.load(trained, optimizer)
    model.train()
    memory = MemoryBound("rows that are learnt from", "use --lora, a smaller model or max_tokens")
    for step in range(first, total):
        for group in optimizer.param_groups:
            group["lr"] = params.learning_rate * _compute_rate(step, total, params.warmup_steps)
        batch = rows.make_batch(_order_rows(len(rows.rows), step, params, seed))
        with seed_generators(seed, step):
            loss = memory.call(partial(_accumulate_gradients, model, batch), params.batch_size)
        nn.utils.clip_grad_norm_([it for _, it in trained], params.clip_norm)
        optimizer.step()
        if (step + 1) % params.checkpoint_every == 0 and step + 1 < total:
            checkpoint.save(trained, optimizer, step + 1)
        yield step + 1, loss
    model.eval()


def _accumulate_gradients(model: nn.Module, batch: dict[str, Tensor], size: int) -> float:
    """Leave the gradients of a batch's mean loss, `size` rows in memory at a time; return the loss."""
    device = next(model.parameters()).device
    model.zero_grad()  # of an attempt that did not fit
    counted = batch["labels"][:, 1:] != IGNORED  # a row's first token is nobody's answer
    total = 0.0
    for first in range(0, len(counted), size):
        some = {name: it[first : first + size].to(device) for name, it in batch.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = model(**some).loss * (counted[first : first + size].sum() / counted.sum()).item()
        loss.backward()
        total += float(loss.detach())
    return total


def find_longest_row(config: Any, params: LanguageModelParams) -> int:
    """Return how many tokens a row may have: `max_tokens`, or what a model so configured has positions for."""
    positions = getattr(config, "max_position_embeddings", None)
    return min(params.max_tokens, positions or params.max_tokens)


def count_steps(rows: RowTokens, params: LanguageModelParams) -> int:
    """Return how many steps `fine_tune` takes; the rows of an incomplete last batch of an epoch wait for the next.

    Raises:
        InputInvalid: there are fewer rows than a batch.
    """
    if len(rows.rows) < params.batch_size:
        raise InputInvalid(
            f"{len(rows.rows)} rows ({rows.too_long} more are too long) are fewer than "
            f"a batch of {params.batch_size}; give more, or lower captions.language_model.batch_size"
        )
    return params.epochs * (len(rows.rows) // params.batch_size)


def add_lora(model: Any, rank: int, *, seed: int) -> Any:
    """Return the model with low-rank adapters as its only trained weights (LoRA, Hu et al. 2021)."""
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=rank, lora_alpha=LORA_SCALE * rank)
    with seed_generators(seed, 0), warnings.catch_warnings():
        # PEFT asks transformers by a name that it calls deprecated.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(model, config)


def save_language_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write model and tokenizer, whole or not at all; adapters are merged into the weights first."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    with replace_folder(folder, LANGUAGE_MODEL) as temporary:
        model.save_pretrained(temporary, safe_serialization=True)
        tokenizer.save_pretrained(temporary)


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
    network, tokenizer = load_language_model(model, to_train=True)
    reading = tqdm(read_edit_rows(rows), desc="reading", unit=" rows", disable=None)
    tokenized = RowTokens(reading, tokenizer, find_longest_row(network.config, numbers))
    if lora:
        network = add_lora(network, numbers.lora_rank, seed=params.seed)
    training = {"model": model, "lora": lora, "rows": tokenized.digest()}
    training |= {"seed": params.seed, "params": numbers.model_dump(exclude={"engine"})}
    checkpoint = TuningCheckpoint(to.with_name(f"{to.name}.checkpoint"), training)
    steps, losses = count_steps(tokenized, numbers), []
    with tqdm(total=steps, desc="fine-tuning", unit=" steps", disable=None) as bar:
        for step, loss in fine_tune(network, tokenized, numbers, checkpoint, seed=params.seed):
            losses.append(loss)
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}")
    save_language_model(network, tokenizer, to)
    checkpoint.remove()
    last = losses[-20:]
    counts = {"rows": len(tokenized.rows), "rows_too_long": tokenized.too_long, "steps": steps}
    return counts | {"loss": round(sum(last) / len(last), 4)}


def _order_rows(rows: int, step: int, params: LanguageModelParams, seed: int) -> list[int]:
    """Return the rows of a step: a permutation for each epoch."""
    per_epoch = rows // params.batch_size
    epoch, place = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    first = place * params.batch_size
    order: list[int] = torch.randperm(rows, generator=generator)[first : first + params.batch_size].tolist()
    return order


def _compute_rate(step: int, total: int, warmup: int) -> float:
    """Return linear warm-up, then linear to 0."""
    warmup = min(warmup, total // 2)
    return (step + 1) / (warmup + 1) if step < warmup else (total - step) / (total - warmup)


@contextmanager
def seed_generators(seed: int, number: int) -> Iterator[None]:
    """Seed PyTorch's own generators, which dropout and sampling draw from; afterwards they are as before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed * 1_000_003 + number)
        yield
