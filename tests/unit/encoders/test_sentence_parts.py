"""Parts of sentence-transformers compute what its `encode` does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from factories import draw_noise
from worlds.tiny_models import save_clip, save_sentence_bert, save_sentence_clip, save_sentence_qwen

from compodiff.encoders import assemble_encoder, load_encoder, save_encoder
from compodiff.errors import InputInvalid
from compodiff.params import PartParams

TEXTS = ["a dog", "a cat", "the red dog that runs in the photo"]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens", "weightedmean"])
def test_pooled_texts_are_the_library_s_own(pooling: str, tmp_path: Path) -> None:
    model = save_sentence_bert(tmp_path / "texts", pooling=pooling, projected=20)
    save_clip(tmp_path / "clip")
    texts = PartParams(name=str(tmp_path / "texts"), joint=True)
    encoder = assemble_encoder(PartParams(name=str(tmp_path / "clip")), [texts])
    encoding = encoder.encode_texts(TEXTS)
    expected = model.encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(encoding.pooled, expected, atol=1e-5, rtol=0)
    tokens = model.encode(TEXTS, output_value="token_embeddings")
    for own, mask, theirs in zip(encoding.states[0].tokens, encoding.states[0].mask, tokens, strict=True):
        torch.testing.assert_close(own[mask], theirs, atol=1e-5, rtol=0)
    assert encoder.manifest.texts[0].template == "a photo of {}"


@pytest.mark.parametrize("layer", [-1, -2])
def test_padding_is_attended_to_the_context(layer: int, tmp_path: Path) -> None:
    model = save_sentence_bert(tmp_path / "texts")
    save_clip(tmp_path / "clip")
    asked: dict[str, Any] = {"name": str(tmp_path / "texts"), "padding": "attended", "context_length": 14}
    encoder = assemble_encoder(
        PartParams(name=str(tmp_path / "clip")), [PartParams.model_validate(asked | {"layer": layer})]
    )
    encoding = encoder.encode_texts(TEXTS)
    states = encoding.states[0]
    assert states.mask.all()
    assert states.tokens.shape == (3, 14, 16)
    bert = model[0].model
    ids = model.tokenizer(
        [f"a photo of {text}" for text in TEXTS], padding="max_length", max_length=14, return_tensors="pt"
    )
    hidden = bert(input_ids=ids.input_ids, attention_mask=ids.attention_mask, output_hidden_states=True).hidden_states
    torch.testing.assert_close(states.tokens, hidden[layer], atol=1e-5, rtol=0)
    assert encoding.pooled is None  # of another model than the pictures


@pytest.mark.parametrize("save", [save_sentence_clip, save_sentence_qwen])
def test_pictures_are_the_library_s_own(save: Callable[[Path], Any], tmp_path: Path) -> None:
    model = save(tmp_path / "model")
    save_clip(tmp_path / "clip")
    encoder = assemble_encoder(PartParams(name=str(tmp_path / "model")), [PartParams(name=str(tmp_path / "clip"))])
    edge = encoder.manifest.picture.image_size
    picture = draw_noise(1, edge, edge)
    expected = model.encode([picture], convert_to_tensor=True)
    torch.testing.assert_close(encoder.encode_images([picture]), expected, atol=1e-5, rtol=0)
    assert encoder.encode_images([draw_noise(2, 70, 50), picture]).shape == (2, encoder.manifest.embedding_dim)


def test_one_embedder_gives_pictures_texts_and_states(tmp_path: Path) -> None:
    model = save_sentence_qwen(tmp_path / "model")
    part = PartParams(name=str(tmp_path / "model"))
    encoder = assemble_encoder(part, [part])
    assert encoder.manifest.joint == 0
    encoding = encoder.encode_texts(TEXTS)
    torch.testing.assert_close(encoding.pooled, model.encode(TEXTS, convert_to_tensor=True), atol=1e-5, rtol=0)
    assert encoding.states[0].tokens.shape[2] == 16
    save_encoder(encoder, tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    assert loaded.manifest == encoder.manifest
    assert torch.equal(loaded.encode_texts(TEXTS).pooled, encoding.pooled)


def test_what_embeds_no_pictures_or_gives_no_states_is_refused(tmp_path: Path) -> None:
    save_sentence_bert(tmp_path / "texts")
    save_sentence_clip(tmp_path / "clip")
    texts, clip = (PartParams(name=str(tmp_path / name)) for name in ("texts", "clip"))
    with pytest.raises(InputInvalid, match="texts embeds no pictures, only text"):
        assemble_encoder(texts, [texts])
    with pytest.raises(InputInvalid, match="clip gives no token states"):
        assemble_encoder(clip, [clip])
