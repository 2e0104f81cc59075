"""Models of transformers' real classes with random weights, in folders as `save_pretrained` writes them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from worlds.tiny_networks import tokenizer as make_clip_tokenizer

WORDS = ["a", "cat", "dog", "that", "runs", "the", "same", "in", "red", "photo", "of"]
SIZES: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
SIGHT: dict[str, Any] = {**SIZES, "image_size": 32, "patch_size": 16}
_CLIP_TEXT = {**SIZES, "hidden_size": 24, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}


def make_words_tokenizer(marks: Mapping[str, str], *, begins: bool, side: str = "right") -> Any:
    """A tokenizer of whole words; `marks` names its special tokens, in the order of their ids."""
    names = [*dict.fromkeys(marks.values()), *WORDS]
    made = Tokenizer(
        models.WordLevel({name: number for number, name in enumerate(names)}, unk_token=marks["unk_token"])
    )
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    end = (marks["eos_token"], names.index(marks["eos_token"]))
    begin = (marks.get("bos_token", end[0]), names.index(marks.get("bos_token", end[0])))
    made.post_processor = processors.TemplateProcessing(
        single=f"{begin[0]} $A {end[0]}" if begins else f"$A {end[0]}", special_tokens=[begin, end]
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, padding_side=side, **marks)


def save_clip(folder: Path, *, projection: int = 20, seed: int = 0) -> Any:
    """A CLIP; returns the model."""
    vision, text = transformers.CLIPVisionConfig(**SIGHT), transformers.CLIPTextConfig(**_CLIP_TEXT)
    config = transformers.CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=projection
    )
    return _save(folder, transformers.CLIPModel, config, seed, _make_clip_processor(), make_clip_tokenizer())


def save_metaclip2(folder: Path, *, seed: int = 0) -> Any:
    marks = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    text = {**SIZES, "vocab_size": 32, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    config = transformers.MetaClip2Config(text_config=text, vision_config=SIGHT, projection_dim=20)
    tokenizer = make_words_tokenizer(marks, begins=True)
    return _save(folder, transformers.MetaClip2Model, config, seed, _make_clip_processor(), tokenizer)


def save_siglip(folder: Path, *, seed: int = 0) -> Any:
    """A SigLIP, which is also the form of SigLIP2 of one picture size."""
    text = {**SIZES, "vocab_size": 32, "max_position_embeddings": 12, "projection_size": 16}
    config = transformers.SiglipConfig(text_config=text, vision_config=SIGHT)
    processor = transformers.SiglipImageProcessorPil(size={"height": 32, "width": 32})
    return _save(folder, transformers.SiglipModel, config, seed, processor, _make_siglip_tokenizer("right"))


def save_siglip2(folder: Path, *, seed: int = 0) -> Any:
    """A SigLIP2 of pictures of any shape."""
    text = {**SIZES, "vocab_size": 32, "max_position_embeddings": 12, "projection_size": 16}
    vision = {**SIZES, "patch_size": 16, "num_patches": 4}
    config = transformers.Siglip2Config(text_config=text, vision_config=vision)
    processor = transformers.Siglip2ImageProcessorPil(patch_size=16, max_num_patches=4)
    return _save(folder, transformers.Siglip2Model, config, seed, processor, _make_siglip_tokenizer("left"))


def save_dinov2(folder: Path, *, seed: int = 0) -> Any:
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16
    )
    processor = transformers.BitImageProcessorPil(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32})
    return _save(folder, transformers.Dinov2Model, config, seed, processor, None)


def save_t5(folder: Path, *, seed: int = 0) -> Any:
    """A T5, encoder and decoder, as the hub has it."""
    config = transformers.T5Config(
        vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=2, feed_forward_proj="gated-gelu"
    )
    tokenizer = make_words_tokenizer({"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}, begins=False)
    return _save(folder, transformers.T5ForConditionalGeneration, config, seed, None, tokenizer)


def save_bert(folder: Path, *, seed: int = 0) -> Any:
    config = transformers.BertConfig(**SIZES, vocab_size=32, max_position_embeddings=24)
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    tokenizer = make_words_tokenizer(marks, begins=True)
    return _save(folder, transformers.BertModel, config, seed, None, tokenizer)


JOINT: Mapping[str, Callable[..., Any]] = {
    "clip": save_clip,
    "metaclip2": save_metaclip2,
    "siglip": save_siglip,
    "siglip2": save_siglip2,
}
PICTURES_ONLY: Mapping[str, Callable[..., Any]] = {"dinov2": save_dinov2}
TEXTS_ONLY: Mapping[str, Callable[..., Any]] = {"t5": save_t5, "bert": save_bert}


def _make_clip_processor() -> Any:
    return transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def _make_siglip_tokenizer(side: str) -> Any:
    marks = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    return make_words_tokenizer(marks, begins=False, side=side)


def _save(folder: Path, kind: Any, config: Any, seed: int, processor: Any, tokenizer: Any) -> Any:
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config).eval().requires_grad_(False)
        for parameter in model.parameters():
            parameter.normal_(std=0.2)  # as drawn, the layers change next to nothing
    model.save_pretrained(folder)
    for each in (processor, tokenizer):
        if each is not None:
            each.save_pretrained(folder)
    return model


def save_sentence_bert(folder: Path, *, pooling: str = "mean", projected: int | None = None) -> Any:
    """A text embedder of sentence-transformers with a prompt; returns the model."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    save_bert(folder.with_name(f"{folder.name}-bert"))
    transformer = Transformer(str(folder.with_name(f"{folder.name}-bert")))
    modules: list[Any] = [transformer, Pooling(16, pooling_mode=pooling)]
    if projected:
        modules += [Dense(16, projected), Normalize()]
    model = SentenceTransformer(
        modules=modules, prompts={"query": "a photo of "}, default_prompt_name="query", device="cpu"
    )
    model.save(str(folder))
    return model.eval()


def save_sentence_clip(folder: Path) -> Any:
    """A CLIP in the form of sentence-transformers; returns the model."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

    save_clip(folder.with_name(f"{folder.name}-clip"))
    model = SentenceTransformer(modules=[Transformer(str(folder.with_name(f"{folder.name}-clip")))], device="cpu")
    model.save(str(folder))
    return model.eval()


# As Qwen's: each message between marks, a picture as one token that the processor repeats.
_QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>{% endfor %}"
)
_QWEN_IDS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
_QWEN_TEXT = {
    **SIZES,
    "vocab_size": 40,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
}
_QWEN_VISION = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_heads": 2,
    "patch_size": 16,
    "out_hidden_size": 16,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0],
}


def save_sentence_qwen(folder: Path) -> Any:
    """A Qwen3-VL embedder of pictures and texts, which pools the last token; returns the model."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    plain = _save_qwen(folder, transformers.Qwen3VLModel)
    modules = [Transformer(str(plain)), Pooling(16, pooling_mode="lasttoken"), Normalize()]
    model = SentenceTransformer(modules=modules, device="cpu")
    model.save(str(folder))
    return model.eval()


def save_cross_encoder(folder: Path) -> Any:
    """A Qwen3-VL that is asked for yes or no about a query and a picture; returns the model."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.modules import LogitScore
    from sentence_transformers.sentence_transformer.modules import Transformer

    plain = _save_qwen(folder, transformers.Qwen3VLForConditionalGeneration)
    reads = Transformer(str(plain), transformer_task="any-to-any")
    model = CrossEncoder(modules=[reads, LogitScore(5, 6)], device="cpu")
    model.save(str(folder))
    return model.eval()


def _save_qwen(folder: Path, kind: Any) -> Path:
    """Save a Qwen3-VL of a class of transformers beside `folder`."""
    marks = {"pad_token": "<pad>", "eos_token": "<|im_end|>", "unk_token": "<unk>"}
    tokenizer = make_words_tokenizer(marks, begins=False, side="left")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", *_QWEN_IDS.values()]})
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _QWEN_IDS.items()}
    config = transformers.Qwen3VLConfig(text_config=_QWEN_TEXT, vision_config=_QWEN_VISION, **ids)
    sizes = {"shortest_edge": 32 * 32, "longest_edge": 512 * 512}
    processor = transformers.Qwen3VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(patch_size=16, size=sizes),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen3VLVideoProcessor(),
        chat_template=_QWEN_TEMPLATE,
    )
    plain = folder.with_name(f"{folder.name}-qwen")
    _save(plain, kind, config, 0, processor, None)
    return plain
