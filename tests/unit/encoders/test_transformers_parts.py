"""Parts of transformers compute what the library's own functions do: pictures, pooled texts, token states."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from factories import draw_noise
from worlds.tiny_models import JOINT, PICTURES_ONLY, TEXTS_ONLY, save_clip

from compodiff.encoders import Encoder, assemble_encoder, load_encoder, require_same, save_encoder
from compodiff.params import PartParams

TEXTS = ["", "a cat", "a photo of a dog that runs"]


def assemble(folder: Path, **text: Any) -> Encoder:
    name = str(folder)
    return assemble_encoder(PartParams(name=name), [PartParams(name=name, **text)])


def tokenize(folder: Path, context: int, *, to_the_end: bool) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    padding = "max_length" if to_the_end else "longest"
    return tokenizer(TEXTS, padding=padding, max_length=context, truncation=True, return_tensors="pt")


@pytest.mark.parametrize("kind", JOINT)
def test_pictures_and_pooled_texts_are_the_library_s_own(kind: str, tmp_path: Path) -> None:
    model = JOINT[kind](tmp_path / kind)
    encoder = assemble(tmp_path / kind)
    picture = draw_noise(1, 48, 48)
    inputs = transformers.AutoImageProcessor.from_pretrained(tmp_path / kind)(picture, return_tensors="pt")
    expected = model.get_image_features(**inputs).pooler_output
    # the processor resizes with torchvision, this project with Pillow: a level of 255 apart here and there
    torch.testing.assert_close(encoder.encode_images([picture]), expected, atol=5e-3, rtol=0)

    always = kind.startswith("siglip")
    ids = tokenize(tmp_path / kind, encoder.manifest.texts[0].context_length, to_the_end=always)
    asked = {"input_ids": ids.input_ids} if always else dict(ids)
    pooled = encoder.encode_texts(TEXTS).pooled
    torch.testing.assert_close(pooled, model.get_text_features(**asked).pooler_output, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", JOINT)
def test_pixels_give_the_library_s_embedding(kind: str, tmp_path: Path) -> None:
    model = JOINT[kind](tmp_path / kind)
    encoder = assemble(tmp_path / kind)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / kind, backend="pil")
    picture = draw_noise(2, 32, 32)
    expected = model.get_image_features(**processor(picture, return_tensors="pt")).pooler_output
    torch.testing.assert_close(encoder.encode_images([picture]), expected, atol=1e-5, rtol=0)
    alone = encoder.encode_images([draw_noise(3, 48, 40), picture])[1:]
    torch.testing.assert_close(alone, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", PICTURES_ONLY)
def test_pictures_alone_are_embedded(kind: str, tmp_path: Path) -> None:
    model = PICTURES_ONLY[kind](tmp_path / kind)
    save_clip(tmp_path / "clip")
    encoder = assemble_encoder(PartParams(name=str(tmp_path / kind)), [PartParams(name=str(tmp_path / "clip"))])
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / kind, backend="pil")
    picture = draw_noise(2, 60, 48)
    expected = model(**processor(picture, return_tensors="pt")).pooler_output
    torch.testing.assert_close(encoder.encode_images([picture]), expected, atol=1e-5, rtol=0)
    assert encoder.encode_texts(TEXTS).pooled is None


@pytest.mark.parametrize("layer", [-1, -2])
@pytest.mark.parametrize("padding", ["dropped", "attended"])
@pytest.mark.parametrize("kind", [*JOINT, *TEXTS_ONLY])
def test_token_states_are_those_of_the_layer(kind: str, padding: str, layer: int, tmp_path: Path) -> None:
    model = (JOINT | TEXTS_ONLY)[kind](tmp_path / kind)
    save_clip(tmp_path / "clip")
    text = PartParams.model_validate(
        {"name": str(tmp_path / kind), "layer": layer, "padding": padding, "context_length": 12}
    )
    encoder = assemble_encoder(PartParams(name=str(tmp_path / "clip")), [text])
    states = encoder.encode_texts(TEXTS).states[0]

    tower = {"t5": "encoder", "bert": None}.get(kind, "text_model")
    own = getattr(model, tower) if tower else model
    always = kind.startswith("siglip")
    ids = tokenize(tmp_path / kind, 12, to_the_end=always or padding == "attended")
    asked = {"input_ids": ids.input_ids} | ({} if always else {"attention_mask": ids.attention_mask})
    outputs = own(**asked, output_hidden_states=True)
    expected = outputs.last_hidden_state if layer == -1 else outputs.hidden_states[layer]
    torch.testing.assert_close(states.tokens, expected, atol=1e-5, rtol=0)
    if padding == "attended":
        assert states.tokens.shape[1] == 12
        assert states.mask.all()
    else:
        assert torch.equal(states.mask, tokenize(tmp_path / kind, 12, to_the_end=always).attention_mask.bool())


def test_an_encoder_of_folders_comes_back(tmp_path: Path) -> None:
    save_clip(tmp_path / "clip")
    TEXTS_ONLY["t5"](tmp_path / "t5")
    clip, t5 = (PartParams(name=str(tmp_path / name)) for name in ("clip", "t5"))
    encoder = assemble_encoder(clip, [clip, t5])
    assert (encoder.manifest.joint, encoder.manifest.token_dims) == (0, (24, 16))
    save_encoder(encoder, tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    require_same(loaded.manifest, encoder.manifest, "the test")
    ours, theirs = loaded.encode_texts(TEXTS), encoder.encode_texts(TEXTS)
    assert torch.equal(ours.pooled, theirs.pooled)
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(ours.states, theirs.states, strict=True))
    assert torch.equal(loaded.encode_images([draw_noise()]), encoder.encode_images([draw_noise()]))
