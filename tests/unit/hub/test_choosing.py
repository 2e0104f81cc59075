"""The files that are fetched: weights once, in safetensors, with what says how to read them."""

import pytest

from compodiff.errors import CheckpointMismatch
from compodiff.hub.choosing import choose_files
from compodiff.hub.known import parse_address

TRANSFORMERS = ["config.json", "model.safetensors", "tokenizer.json"]
OURS = ["composed/config.json", "composed/model.safetensors", "encoder/manifest.json", "sampling.json"]
OPEN_CLIP = ["open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json"]


@pytest.mark.parametrize(
    ("listed", "chosen"),
    [
        ([*TRANSFORMERS, "README.md", ".gitattributes", "pytorch_model.bin", "flax_model.msgpack"], TRANSFORMERS),
        ([*TRANSFORMERS, "onnx/model.onnx", "onnx/config.json", "model.fp16.safetensors"], TRANSFORMERS),
        ([*OPEN_CLIP, "open_clip_pytorch_model.bin"], OPEN_CLIP),
        ([*OPEN_CLIP, "model.safetensors", "config.json"], ["config.json", *OPEN_CLIP]),
        (
            ["modules.json", "1_Pooling/config.json", "model.safetensors", "sentence_bert_config.json"],
            ["1_Pooling/config.json", "model.safetensors", "modules.json", "sentence_bert_config.json"],
        ),
        (
            ["model_index.json", "unet/a.safetensors", "unet/a.fp16.safetensors", "all-in-one.safetensors", "one.ckpt"],
            ["model_index.json", "unet/a.safetensors"],
        ),
        (
            ["composed/model.safetensors", "encoder/manifest.json"],
            ["composed/model.safetensors", "encoder/manifest.json"],
        ),
    ],
)
def test_what_is_needed_is_chosen(listed: list[str], chosen: list[str]) -> None:
    assert choose_files(listed, parse_address("org/name")) == tuple(sorted(chosen))


def test_a_pickle_is_taken_only_where_the_table_says_so() -> None:
    with pytest.raises(CheckpointMismatch, match=r"pickle only \(pytorch_model.bin\), which can run code"):
        choose_files(["config.json", "pytorch_model.bin"], parse_address("org/name"))
    released = parse_address("navervision/CompoDiff-Aesthetic")
    assert choose_files(["config.json", "pytorch_model.bin"], released) == ("config.json", "pytorch_model.bin")
    # Where its authors publish safetensors after all, those are taken.
    assert choose_files(["config.json", "model.safetensors", "pytorch_model.bin"], released) == (
        "config.json",
        "model.safetensors",
    )


def test_where_the_named_weights_are_not_there_others_are_looked_for() -> None:
    known = parse_address("clip-b32")
    assert choose_files(TRANSFORMERS, known) == tuple(TRANSFORMERS)
    with pytest.raises(CheckpointMismatch, match="pickle only"):
        choose_files(["open_clip_config.json", "open_clip_pytorch_model.bin"], known)


def test_a_set_is_taken_whole() -> None:
    listed = ["set.json", "train-00000.parquet", "train-00000.tar", "README.md", ".gitattributes"]
    assert choose_files(listed, parse_address("datasets/org/set")) == tuple(sorted(listed[:4]))
