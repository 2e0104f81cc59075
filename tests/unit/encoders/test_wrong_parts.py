"""What cannot be a part is refused in one line that names it and the way out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from factories import make_encoder_manifest
from huggingface_hub import constants
from worlds.hub import place_in_cache
from worlds.tiny_models import save_bert, save_clip, save_dinov2, save_t5

from compodiff.encoders import (
    Encoder,
    EncoderManifest,
    assemble_encoder,
    load_encoder,
    open_clip_encoder,
    require_same,
    save_encoder,
)
from compodiff.errors import CheckpointMismatch, CompoDiffError, EncoderMismatch, InputInvalid, ResourceUnavailable
from compodiff.params import PartParams
from compodiff.storage import digests

HUB_ID = "openai/clip-vit-large-patch14"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("models")
    for name, save in (("clip", save_clip), ("dinov2", save_dinov2), ("t5", save_t5), ("bert", save_bert)):
        save(home / name)
    return home


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    """Tiny models by their kinds, which a test may damage."""
    return shutil.copytree(models, tmp_path / "models")


def assemble(folder: Path, picture: str, text: str, **changes: Any) -> Encoder:
    names = {name: str(folder / name) if (folder / name).is_dir() else name for name in (picture, text)}
    return assemble_encoder(PartParams(name=names[picture]), [PartParams(name=names[text], **changes)])


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = folder / "model.safetensors"
    state = change(safetensors.torch.load(path.read_bytes()))
    safetensors.torch.save_file(state, path, metadata={"format": "pt"})


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def drop(folder: Path, name: str) -> None:
    (folder / name).unlink()


@pytest.mark.parametrize(
    ("picture", "text", "message"),
    [
        ("t5", "clip", r"t5 does not say how it wants its pictures"),
        ("clip", "dinov2", r"dinov2 is of transformers' type 'dinov2', which has no token states"),
        ("clip-l41", "clip", r"'clip-l41' is no model that compodiff knows \(near: clip-l14"),
        ("compodiff-aesthetic", "clip", r"run: compodiff get compodiff-aesthetic"),
        ("clip-b32", "clip", r"the model clip-b32 is not on this machine; run: compodiff get clip-b32"),
        ("org/none", "clip", r"run: compodiff get org/none"),
    ],
)
def test_what_is_no_such_part(
    folder: Path, picture: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    with pytest.raises(CompoDiffError, match=message) as caught:
        assemble(folder, picture, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (cut, ResourceUnavailable, r"the weights of clip could not be loaded"),
        (lambda at: drop(at, "model.safetensors"), InputInvalid, r"clip has no weights in safetensors"),
        (lambda at: drop(at, "preprocessor_config.json"), InputInvalid, r"clip does not say how it wants its pictures"),
        (lambda at: drop(at, "config.json"), InputInvalid, r"clip is no encoder: it has none of"),
        (
            lambda at: rewrite(at, lambda state: {k: v for k, v in state.items() if "layers.2" not in k}),
            CheckpointMismatch,
            r"lack 16 tensors of a CLIPVisionModelWithProjection, as .*layers\.2",
        ),
        (
            lambda at: rewrite(at, lambda state: {k: v[..., :8].contiguous() for k, v in state.items() if v.ndim}),
            ResourceUnavailable,
            r"could not be loaded: .*mismatch",
        ),
    ],
)
def test_weights_that_are_none(
    folder: Path, damage: Callable[[Path], None], error: type[CompoDiffError], message: str
) -> None:
    damage(folder / "clip")
    with pytest.raises(error, match=message) as caught:
        assemble(folder, "clip", "t5")
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite(folder: Path) -> None:
    rewrite(folder / "t5", lambda state: {k: v * float("nan") if "layer_norm" in k else v for k, v in state.items()})
    with pytest.raises(CheckpointMismatch, match=r"weights of t5 are damaged: its tokens 1 are not finite"):
        assemble(folder, "clip", "t5").record_agreement("auto")


def test_parts_of_different_picture_spaces(folder: Path) -> None:
    with pytest.raises(InputInvalid, match=r"t5 cannot be joint: it embeds texts in 0 dimensions, clip pictures in 20"):
        assemble(folder, "clip", "t5", joint=True)
    clip = PartParams(name=str(folder / "clip"), joint=True)
    with pytest.raises(InputInvalid, match="2 text parts are said to be joint"):
        assemble_encoder(clip, [clip, clip])
    save_clip(folder / "narrow", projection=12)
    with pytest.raises(InputInvalid, match=r"in 12 dimensions, clip pictures in 20"):
        assemble(folder, "clip", "narrow", joint=True)


def test_layers_and_contexts_that_are_not_there(folder: Path) -> None:
    with pytest.raises(InputInvalid, match=r"has 3 layers, -1 to -3, and none of -4"):
        assemble(folder, "clip", "t5", layer=-4)
    with pytest.raises(InputInvalid, match=r"bert has places for 24 tokens, not for 25"):
        assemble(folder, "clip", "bert", context_length=25)


def test_an_index_of_other_parts(folder: Path) -> None:
    ours, other = assemble(folder, "clip", "clip").manifest, assemble(folder, "clip", "t5").manifest
    with pytest.raises(EncoderMismatch, match=r"the index idx was made with an encoder whose text part's name is t5"):
        require_same(ours, other, "the index idx")
    attended = assemble(folder, "clip", "clip", padding="attended").manifest
    with pytest.raises(EncoderMismatch, match=r"text part's padding is attended, the one in use has dropped"):
        require_same(ours, attended, "the index idx")


def test_a_manifest_of_release_0_1_is_read() -> None:
    flat = make_encoder_manifest(name="ViT-L-14")
    assert flat.picture.library == "open_clip"
    assert flat.joint == 0
    assert EncoderManifest.from_json(json.loads(json.dumps(flat.to_json()))) == flat


def test_weights_of_the_hub_s_cache_stay_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = folder / "home"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    commit = "32bd64288804d66eefd0ccbe215aa642df71cc41"
    cached = place_in_cache(home, HUB_ID, folder / "clip", commit)
    encoder = assemble(folder, "clip-l14", "clip-l14", padding="attended")
    save_encoder(encoder, folder / "encoder")
    assert [path.name for path in (folder / "encoder").iterdir() if not path.name.startswith(".")] == ["manifest.json"]
    loaded = load_encoder(folder / "encoder")
    assert (loaded.manifest.picture.hub_id, loaded.manifest.picture.revision) == (HUB_ID, commit)
    assert torch.equal(loaded.encode_texts(["a cat"]).pooled, encoder.encode_texts(["a cat"]).pooled)
    rewrite(cached, lambda state: {key: value * 2 for key, value in state.items()})
    with pytest.raises(EncoderMismatch, match=rf"cached weights of {HUB_ID} are not those .* compodiff get {HUB_ID}@"):
        load_encoder(folder / "encoder")
    drop(cached, "model.safetensors")
    with pytest.raises(CompoDiffError, match=r"compodiff get|no weights in safetensors"):
        load_encoder(folder / "encoder")


def test_weights_that_open_clip_takes_apart_are_for_its_list_only(folder: Path) -> None:
    with pytest.raises(InputInvalid, match="has weights of its own"):
        assemble(folder, "clip", "clip", weights="openai")


def test_a_tag_that_is_not_cached_names_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    with pytest.raises(ResourceUnavailable, match=r"compodiff get .*clip-l14-openclip|vit_large_patch14_clip_224"):
        open_clip_encoder("ViT-L-14", pretrained="openai")


def test_a_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "SETTLED_SECONDS", -1)
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    digest = digests.digest_once(path)
    assert digest == digests.digest_file(path)
    with monkeypatch.context() as patch:
        patch.setattr(digests, "digest_file", lambda _: pytest.fail("it was hashed again"))
        assert digests.digest_once(path) == digest
    path.write_bytes(b"others!")
    assert digests.digest_once(path) == digests.digest_file(path)
    (kept,) = (tmp_path / "cache" / "compodiff" / "digests").iterdir()
    kept.write_text("damaged")
    assert digests.digest_once(path) == digests.digest_file(path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))  # a file: nothing can be kept
    assert digests.digest_once(path) == digests.digest_file(path)
