"""Edits that a tiny language model can learn, and that model: an OPT of the real class with a tokenizer of its own."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from compodiff.captions.edit_rows import EditRow

ANIMALS = ("dog", "cat", "horse", "cow", "sheep", "goat", "lion", "bear")
PLACES = ("on a beach", "in a forest", "by a river", "near a house")
ROWS = [
    EditRow(f"a {one} {place}", f"make it a {other}", f"a {other} {place}")
    for one in ANIMALS
    for other in ANIMALS
    for place in PLACES
    if one != other
]


def tiny_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<pad>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator((row.prompt + row.answer for row in ROWS), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")  # noqa: S106


def tiny_model(tokenizer):
    config = OPTConfig(
        vocab_size=len(tokenizer), hidden_size=64, word_embed_proj_dim=64, ffn_dim=128, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=128, dropout=0.0, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return OPTForCausalLM(config)
