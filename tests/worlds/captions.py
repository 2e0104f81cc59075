"""Edits that a tiny language model can learn, and that model: an OPT of the real class with a tokenizer of its own."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from compodiff.captions.edit_rows import EditRow
from compodiff.captions.replacements import Replacements
from compodiff.language.terms import ATTRIBUTE as ADJECTIVE
from compodiff.language.terms import ONE
from compodiff.params import CaptionParams, load_params

ANIMALS = ("dog", "cat", "horse", "cow", "sheep", "goat", "lion", "bear")
PLACES = ("on a beach", "in a forest", "by a river", "near a house")
ROWS = [
    EditRow(f"a {one} {place}", f"make it a {other}", f"a {other} {place}")
    for one in ANIMALS
    for other in ANIMALS
    for place in PLACES
    if one != other
]

NOUNS = ("dog", "cat", "horse", "car", "boat", "house", "tree", "lamp", "chair", "guitar")
COLOURS = ("red", "blue", "green", "white", "black", "yellow")
FORMS = dict.fromkeys(NOUNS, ONE) | dict.fromkeys(COLOURS, ADJECTIVE)
PARAMS = load_params(Path(__file__).parents[2] / "params.yaml").captions


def make_caption_params(**changes: object) -> CaptionParams:
    """Those of params.yaml, but for keywords.`changes`."""
    return CaptionParams.model_validate(PARAMS.model_dump() | {"keywords": PARAMS.keywords.model_dump() | changes})


def replace_all(forms: dict[str, int]) -> Replacements:
    """Every term of a form replaces every other."""
    choices = {one: [other for other in forms if other != one and forms[other] == forms[one]] for one in forms}
    return Replacements(forms, {term: others for term, others in choices.items() if others})


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
