"""A tiny OPT, of the real class, learns to write edits here until most of its rows parse."""

import json
from pathlib import Path

import pytest
import torch
from transformers import OPTForCausalLM
from worlds.captions import ANIMALS, PLACES, ROWS, tiny_model, tiny_tokenizer

from compodiff.captions.by_language_model import WritingRun
from compodiff.captions.edit_rows import EditRow, is_change, parse_edit, read_edit_rows
from compodiff.captions.edit_writers import LanguageModelWriter
from compodiff.captions.language_model import (
    RowTokens,
    add_lora,
    fine_tune,
    load_language_model,
    save_language_model,
)
from compodiff.captions.tuning_checkpoint import TuningCheckpoint
from compodiff.errors import CheckpointMismatch, InputInvalid, ResourceUnavailable
from compodiff.pairs.caption_file import read_caption_pairs
from compodiff.params import load_params

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory, one_thread):
    folder = tmp_path_factory.mktemp("model") / "untrained"
    tokenizer = tiny_tokenizer()
    save_language_model(tiny_model(tokenizer), tokenizer, folder)
    return folder


def params(**changes):
    captions = load_params(ROOT / "params.yaml").captions
    quick = {
        "epochs": 24, "batch_size": 16, "learning_rate": 5e-3, "warmup_steps": 10, "max_tokens": 64,
        "checkpoint_every": 1000, "give_up_after": 32, "sampling_batch_size": 32, "temperature": 0.7, "lora_rank": 4,
    }  # fmt: skip
    return captions.model_copy(update={"language_model": captions.language_model.model_copy(update=quick | changes)})


def trained(folder, to, numbers, checkpoint, *, rows=ROWS, lora=False, stop_after=None):
    """Fine-tune the model in `folder` as the command does; `stop_after` steps a kill ends it."""
    model, tokenizer = load_language_model(folder, to_train=True)
    tokens = RowTokens(rows, tokenizer, numbers.max_tokens)
    if lora:
        model = add_lora(model, numbers.lora_rank, seed=17)
    losses = []
    for step, loss in fine_tune(model, tokens, numbers, checkpoint, seed=17):
        losses.append(loss)
        if step == stop_after:
            return losses
    save_language_model(model, tokenizer, to)
    return losses


@pytest.fixture(scope="module")
def editor(untrained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("editor")
    losses = trained(untrained, folder / "model", params().language_model, TuningCheckpoint(folder / "checkpoint", {}))
    assert losses[-1] < losses[0] / 3
    return folder / "model"


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text("".join(f"a {animal} {place}\n" for animal in ANIMALS for place in PLACES))
    return path


def run(captions, work, model, **changes):
    tuned, tokenizer = load_language_model(model, to_train=False)
    numbers = params(**changes)
    writer = LanguageModelWriter(tuned, tokenizer, numbers.language_model, seed=numbers.seed)
    return WritingRun(captions, work, numbers, {"name": str(model)}), writer


def test_a_tuned_model_writes_edits_of_which_most_parse(editor, captions, tmp_path):
    making, writer = run(captions, tmp_path / "work", editor)
    done = []
    summary = making.write(writer, tmp_path / "pairs.parquet", 1000, done.append)
    rows = summary["rows"]
    assert rows["sampled"] == len(ANIMALS) * len(PLACES)
    assert rows["malformed"] < rows["sampled"] / 2
    assert rows["sampled"] == sum(rows[name] for name in ("malformed", "unchanged", "duplicate", "other_split", "kept"))
    pairs = list(read_caption_pairs(tmp_path / "pairs.parquet"))
    assert len(pairs) == summary["pairs"] == rows["kept"] == sum(done) > 0
    assert all(pair.reference_caption != pair.target_caption and not pair.keyword for pair in pairs)
    assert list(read_edit_rows(tmp_path / "pairs.parquet"))  # what it wrote can be learnt from again
    assert not (tmp_path / "work").exists()


def test_the_same_seed_writes_the_same_pairs_after_a_kill_too(editor, captions, tmp_path):
    making, writer = run(captions, tmp_path / "one", editor, sampling_batch_size=1)
    making.write(writer, tmp_path / "whole.parquet", 1000, lambda _: None)

    class Killed(Exception):
        pass

    class KilledWriter:
        def answer(self, some, number):
            if number == 17:  # in the second part
                raise Killed
            return writer.answer(some, number)

    making, _ = run(captions, tmp_path / "two", editor, sampling_batch_size=1)
    with pytest.raises(Killed):
        making.write(KilledWriter(), tmp_path / "resumed.parquet", 1000, lambda _: None)
    assert not (tmp_path / "resumed.parquet").exists()
    asked = []

    class CountedWriter:
        def answer(self, some, number):
            asked.append(number)
            return writer.answer(some, number)

    making.write(CountedWriter(), tmp_path / "resumed.parquet", 1000, lambda _: None)
    assert asked[0] == 16
    assert (tmp_path / "resumed.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_parts_that_end_in_another_order_give_the_same_pairs(editor, captions, tmp_path, monkeypatch):
    def map_backwards(function, items, *, workers):
        return [(item, function(item)) for item in reversed(list(items))]

    whole, writer = run(captions, tmp_path / "work", editor, sampling_batch_size=1)
    expected = whole.write(writer, tmp_path / "in-order.parquet", 5, lambda _: None)
    monkeypatch.setattr("compodiff.captions.by_language_model.map_shards", map_backwards)
    summary = whole.write(writer, tmp_path / "backwards.parquet", 5, lambda _: None)
    assert summary == expected
    assert summary["pairs"] == 5
    assert (tmp_path / "backwards.parquet").read_bytes() == (tmp_path / "in-order.parquet").read_bytes()


def test_a_model_that_writes_nothing_parseable_ends_with_the_reason(untrained, captions, tmp_path):
    making, writer = run(captions, tmp_path / "work", untrained, max_tokens=8)
    with pytest.raises(InputInvalid, match=r"none of the first 32 rows parses; the last is .* fine-tune"):
        making.write(writer, tmp_path / "pairs.parquet", 10, lambda _: None)
    assert not (tmp_path / "pairs.parquet").exists()


def test_training_goes_on_from_its_checkpoint_to_the_same_weights(untrained, tmp_path):
    numbers = params(epochs=1, checkpoint_every=5).language_model
    whole = trained(untrained, tmp_path / "whole", numbers, TuningCheckpoint(tmp_path / "a", {"rows": 1}))
    checkpoint = TuningCheckpoint(tmp_path / "b", {"rows": 1})
    trained(untrained, tmp_path / "resumed", numbers, checkpoint, stop_after=7)
    rest = trained(untrained, tmp_path / "resumed", numbers, checkpoint)
    assert rest == whole[5:]
    name = "model.safetensors"
    assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with pytest.raises(CheckpointMismatch, match="of another training"):
        trained(untrained, tmp_path / "other", numbers, TuningCheckpoint(tmp_path / "b", {"rows": 2}))


def test_a_gpu_out_of_memory_learns_the_same_from_smaller_batches(untrained, tmp_path, monkeypatch, caplog):
    numbers = params(epochs=1).language_model
    whole = trained(untrained, tmp_path / "whole", numbers, TuningCheckpoint(tmp_path / "a", {}))
    sizes = []
    forward = OPTForCausalLM.forward

    def bounded(model, input_ids, **others):
        sizes.append(len(input_ids))
        if len(input_ids) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(model, input_ids=input_ids, **others)

    monkeypatch.setattr(OPTForCausalLM, "forward", bounded)
    parts = trained(untrained, tmp_path / "parts", numbers, TuningCheckpoint(tmp_path / "b", {}))
    assert parts == pytest.approx(whole, rel=0.02)  # dropout draws in another order
    assert sizes[:4] == [16, 8, 4, 4]
    assert caplog.messages == ["the GPU's memory ends at 16 rows that are learnt from: 4 at a time from now on"]


def test_rows_are_told_from_others_of_the_same_size(untrained):
    _, tokenizer = load_language_model(untrained, to_train=True)
    rows = [EditRow("a cat", "make it a dog", "a dog"), EditRow("a dog", "make it a cat", "a cat")]
    digests = {RowTokens(some, tokenizer, 64).digest() for some in (rows, rows[::-1])}
    assert len(digests) == 2


def test_low_rank_adapters_learn_alone_and_are_merged(untrained, tmp_path):
    model, _ = load_language_model(untrained, to_train=True)
    names = [name for name, it in add_lora(model, 4, seed=17).named_parameters() if it.requires_grad]
    assert names
    assert all("lora_" in name for name in names)
    numbers = params(epochs=4).language_model
    losses = trained(untrained, tmp_path / "model", numbers, TuningCheckpoint(tmp_path / "c", {}), lora=True)
    assert losses[-1] < losses[0] - 0.1
    merged, _ = load_language_model(tmp_path / "model", to_train=False)
    before, _ = load_language_model(untrained, to_train=False)
    changed = {name for name, it in merged.state_dict().items() if not torch.equal(it, before.state_dict()[name])}
    assert changed
    assert all(name.endswith(("q_proj.weight", "v_proj.weight")) for name in changed)


def test_only_the_answer_counts_and_long_rows_are_left_out(untrained):
    _, tokenizer = load_language_model(untrained, to_train=True)
    tokens = RowTokens([ROWS[0], EditRow("a dog " * 50, "make it a cat", "a cat")], tokenizer, 64)
    assert tokens.too_long == 1
    batch = tokens.make_batch([0])
    counted = batch["labels"][0] != -100
    assert tokenizer.decode(batch["input_ids"][0][counted]) == ROWS[0].answer + "</s>"
    assert tokenizer.decode(batch["input_ids"][0][~counted]) == ROWS[0].prompt


def test_a_folder_without_a_model_is_refused_in_one_line(tmp_path):
    with pytest.raises(ResourceUnavailable, match=r"^no language model could be loaded from \S+: [^\n]+$"):
        load_language_model(tmp_path, to_train=False)


@pytest.mark.parametrize(
    "answer", ["", " make it a cat", " \nresult: a cat", " x\nresult: ", " x\nresult: y\nmore: z", "x\nresult: y"]
)
def test_what_has_another_form_does_not_parse(answer):
    assert parse_edit("a dog", answer) is None


def test_a_row_is_parsed_and_a_change_of_case_is_none():
    row = parse_edit("a dog", ROWS[0].answer + " ")
    assert row == EditRow("a dog", ROWS[0].edit, ROWS[0].result)
    assert is_change(row)
    assert not is_change(EditRow("a dog", "louder", "A  DOG!"))


def test_rows_of_public_sets_are_read_and_faulty_ones_named(tmp_path):
    good, bad, empty = tmp_path / "good.jsonl", tmp_path / "bad.jsonl", tmp_path / "empty.jsonl"
    row = {"input": "a dog", "edit": "make it a cat", "output": "a cat", "more": 1}
    good.write_text(json.dumps(row) + "\n")
    assert list(read_edit_rows(good)) == [EditRow("a dog", "make it a cat", "a cat")]
    bad.write_text(json.dumps(row) + "\n" + json.dumps({"input": "a"}) + "\n")
    with pytest.raises(InputInvalid, match=r"bad\.jsonl: line 2 "):
        list(read_edit_rows(bad))
    empty.write_text(json.dumps(row | {"edit": " "}) + "\n")
    with pytest.raises(InputInvalid, match="row 1 is empty"):
        list(read_edit_rows(empty))
    with pytest.raises(InputInvalid, match="neither"):
        list(read_edit_rows(tmp_path / "rows.csv"))
    with pytest.raises(InputInvalid, match="not there"):
        list(read_edit_rows(tmp_path / "none.jsonl"))
