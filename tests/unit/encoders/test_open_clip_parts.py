"""Every model of open_clip's list is built; every pooling gives the library's own embedding of a text."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import safetensors.torch
import torch
import transformers
from factories import draw_noise
from huggingface_hub import constants
from worlds.tiny_models import SIZES, make_words_tokenizer

from compodiff.encoders import Encoder, assemble_encoder, load_encoder, save_encoder
from compodiff.encoders.open_clip_models import build_model, read_config
from compodiff.encoders.sources import Source
from compodiff.errors import CheckpointMismatch, InputInvalid, ResourceUnavailable
from compodiff.params import PartParams

TEXTS = ["", "a cat", "a dog that runs in the same photo"]
SIGHT = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
TEXT = {"context_length": 12, "width": 32, "heads": 2, "layers": 3}
# The text sections of the list's kinds, small.
SECTIONS: dict[str, dict[str, Any]] = {
    "argmax": {},
    "argmax, bidirectional": {"no_causal_mask": True},
    "eos": {"pool_type": "eos", "eos_id": 1, "vocab_size": 32, "hf_tokenizer_name": "words"},
    "last": {
        "pool_type": "last",
        "no_causal_mask": True,
        "proj_bias": True,
        "vocab_size": 32,
        "hf_tokenizer_name": "words",
    },
    "last, projected by none": {
        "pool_type": "last",
        "no_causal_mask": True,
        "proj_type": "none",
        "width": 16,
        "vocab_size": 32,
        "hf_tokenizer_name": "words",
    },
    "first": {"pool_type": "first"},
    "class token": {"embed_cls": True, "output_tokens": True},
    **{
        pooler: {"hf_model_name": kind, "hf_tokenizer_name": "words", "hf_pooler_type": pooler, "hf_proj_type": "mlp"}
        for pooler, kind in (("mean_pooler", "mt5"), ("cls_pooler", "bert"), ("cls_last_hidden_state_pooler", "bert"))
    },
}
HF_CONFIGS: dict[str, Callable[[], Any]] = {
    "mt5": lambda: transformers.MT5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=2),
    "bert": lambda: transformers.BertConfig(**SIZES, vocab_size=32),
}


def make_folder(folder: Path, kind: str, *, end_is_padding: bool = False) -> Any:
    """A model in open_clip's form; returns the model."""
    section = TEXT | SECTIONS[kind]
    if "hf_model_name" in section:
        HF_CONFIGS[section["hf_model_name"]]().save_pretrained(folder / "text")
        section |= {"hf_model_name": str(folder / "text")}
    config: dict[str, Any] = {"embed_dim": 16, "vision_cfg": SIGHT, "text_cfg": section, "custom_text": "proj" in kind}
    if kind == "class token":
        config |= {
            "custom_text": True,
            "vision_cfg": {**SIGHT, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            "multimodal_cfg": {**TEXT, "vocab_size": 49408, "attn_pooler_heads": 2, "mlp_ratio": 2},
        }
    if "hf_tokenizer_name" in section:
        marks = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
        marks |= {"pad_token": "<eos>"} if end_is_padding else {}
        make_words_tokenizer(marks, begins=False).save_pretrained(folder)
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}})
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = build_model(read_config(Source("open_clip", kind, folder)), empty=False).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    safetensors.torch.save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return model.requires_grad_(False)


def assemble(folder: Path, **text: Any) -> Encoder:
    name = str(folder)
    return assemble_encoder(PartParams(name=name), [PartParams(name=name, **text)])


@pytest.mark.parametrize("kind", SECTIONS)
def test_pictures_and_pooled_texts_are_the_library_s_own(kind: str, tmp_path: Path) -> None:
    model = make_folder(tmp_path / "model", kind)
    encoder = assemble(tmp_path / "model")
    encoding = encoder.encode_texts(TEXTS)
    tower: Any = encoder.texts[0]
    ids = tower.tokenize(TEXTS)
    torch.testing.assert_close(encoding.pooled, model.encode_text(ids, normalize=False), atol=1e-5, rtol=0)
    pixels = encoder.preprocess(draw_noise())[None]
    own = model.encode_image(pixels, normalize=False)
    torch.testing.assert_close(encoder.encode_pixels(pixels), own, atol=1e-5, rtol=0)
    real = encoding.states[0].mask.sum(dim=1)
    assert real[0] >= 1  # of the empty text
    assert real[0] < real[1] < real[2] <= 12


@pytest.mark.parametrize("kind", [kind for kind in SECTIONS if kind != "class token"])
def test_the_last_states_are_what_is_pooled(kind: str, tmp_path: Path) -> None:
    model = make_folder(tmp_path / "model", kind)
    attended = assemble(tmp_path / "model", padding="attended").encode_texts(TEXTS)
    tokens = attended.states[0].tokens
    assert tokens.shape[1] == 12
    assert attended.states[0].mask.all()
    dropped = assemble(tmp_path / "model").encode_texts(TEXTS).states[0]
    length = dropped.tokens.shape[1]
    close = (tokens[:, :length] - dropped.tokens).abs().amax(-1) < 1e-5
    assert close[dropped.mask].all()
    tower = getattr(model, "text", model)
    if hasattr(tower, "pooler"):
        return  # its pooling is the class of open_clip that this project calls
    ids = encoder_ids(tmp_path / "model")
    pooling, end = (getattr(tower, f"{'text_' if tower is model else ''}{name}") for name in ("pool_type", "eos_id"))
    pooled = open_clip.transformer.text_global_pool(tokens, ids, pooling, eos_token_id=end)
    projection = tower.text_projection
    if projection is not None:
        pooled = projection(pooled) if isinstance(projection, torch.nn.Linear) else pooled @ projection
    torch.testing.assert_close(pooled, model.encode_text(ids), atol=1e-5, rtol=0)


def encoder_ids(folder: Path) -> torch.Tensor:
    tower: Any = assemble(folder).texts[0]
    ids: torch.Tensor = tower.tokenize(TEXTS)
    return ids


def test_an_earlier_layer_has_other_states_and_the_same_embedding(tmp_path: Path) -> None:
    model = make_folder(tmp_path / "model", "argmax")
    last, earlier = (assemble(tmp_path / "model", layer=layer).encode_texts(TEXTS) for layer in (-1, -2))
    assert torch.equal(last.pooled, earlier.pooled)
    states = earlier.states[0].tokens
    rest = model.transformer.resblocks[-1](states, attn_mask=model.attn_mask)
    torch.testing.assert_close(model.ln_final(rest), last.states[0].tokens, atol=1e-5, rtol=0)
    with pytest.raises(InputInvalid, match=r"has 3 layers, -1 to -3, and none of -4"):
        assemble(tmp_path / "model", layer=-4)


def test_an_end_that_is_padding_too_is_seen_once(tmp_path: Path) -> None:
    make_folder(tmp_path / "model", "last", end_is_padding=True)
    assert assemble(tmp_path / "model").encode_texts(TEXTS).states[0].mask.sum(dim=1).tolist() == [1, 3, 9]


@pytest.mark.parametrize("kind", ["argmax", "last", "mean_pooler"])
def test_it_comes_back(kind: str, tmp_path: Path) -> None:
    make_folder(tmp_path / "model", kind)
    encoder = assemble(tmp_path / "model", padding="attended")
    save_encoder(encoder, tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    assert loaded.manifest == encoder.manifest
    ours, theirs = (each.encode_texts(TEXTS) for each in (loaded, encoder))
    assert torch.equal(ours.pooled, theirs.pooled)
    assert torch.equal(ours.states[0].tokens, theirs.states[0].tokens)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    make_folder(tmp_path / "model", "argmax")
    path = tmp_path / "model" / "open_clip_config.json"
    content = json.loads(path.read_text())
    content["model_cfg"]["vision_cfg"]["layers"] = 2
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointMismatch, match=r"open_clip_model\.safetensors are not of model: .*Missing key"):
        assemble(tmp_path / "model")


def test_a_text_tower_that_pools_nothing_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path / "model", "argmax")
    path = tmp_path / "model" / "open_clip_config.json"
    path.write_text(path.read_text().replace('"context_length": 12', '"context_length": 12, "pool_type": "none"'))
    with pytest.raises(InputInvalid, match="embeds no text"):
        assemble(tmp_path / "model")


# Of the list's 144 models, those whose text tower is a model of transformers, which has to be in the cache.
OTHER_TOWERS = {
    "coca_roberta-ViT-B-32": "FacebookAI/roberta-base",
    "mt5-base-ViT-B-32": "google/mt5-base",
    "mt5-xl-ViT-H-14": "google/mt5-xl",
    "nllb-clip-base": "facebook/nllb-200-distilled-600M",
    "nllb-clip-base-siglip": "facebook/nllb-200-distilled-600M",
    "nllb-clip-large": "facebook/nllb-200-distilled-1.3B",
    "nllb-clip-large-siglip": "facebook/nllb-200-distilled-1.3B",
    "roberta-ViT-B-32": "FacebookAI/roberta-base",
    "xlm-roberta-base-ViT-B-32": "FacebookAI/xlm-roberta-base",
    "xlm-roberta-large-ViT-H-14": "FacebookAI/xlm-roberta-large",
}
OWN_TOWERS = sorted({name for name in open_clip.list_models() if not name.startswith("compodiff")} - set(OTHER_TOWERS))


@pytest.mark.parametrize("name", OWN_TOWERS)
def test_every_model_of_the_list_is_built(name: str) -> None:
    """Without weights, on the meta device: the largest has 5 billion."""
    with torch.device("meta"):
        model = build_model(read_config(Source("open_clip", name)), empty=True)
    tower = getattr(model, "text", model)
    assert len(tower.transformer.resblocks) > 0
    assert callable(model.forward_intermediates)
    assert next(model.parameters()).is_meta


@pytest.mark.parametrize("name", OTHER_TOWERS)
def test_a_text_tower_of_transformers_has_to_be_in_the_cache(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ResourceUnavailable, match=rf"compodiff get {OTHER_TOWERS[name]}$"):
        read_config(Source("open_clip", name))
