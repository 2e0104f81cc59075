"""Model folders: what is written is what is read, and nothing else is accepted."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from worlds.networks import OURS

from compodiff.errors import CheckpointMismatch
from compodiff.model.checkpoint import CARD, WEIGHTS, ModelCard, load_model, save_model
from compodiff.model.network.denoiser import Denoiser, DenoiserConfig
from compodiff.model.sampling.process import Process


@pytest.fixture
def card(config: DenoiserConfig) -> ModelCard:
    return ModelCard(config, Process("flow_matching", 500), {"name": "tiny", "mean": [0.5, 0.5]}, {"steps": 3})


@pytest.fixture
def folder(denoiser: Denoiser, card: ModelCard, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", denoiser.state_dict(), card)
    return tmp_path / "model"


@contextmanager
def changed(folder: Path) -> Iterator[dict[str, torch.Tensor]]:
    tensors = load_file(folder / WEIGHTS)
    yield tensors
    save_file(tensors, folder / WEIGHTS)


def test_what_is_saved_is_loaded(folder: Path, denoiser: Denoiser, card: ModelCard) -> None:
    loaded, loaded_card = load_model(folder)
    assert loaded_card == card
    expected = denoiser.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(weight, expected[name]) for name, weight in loaded.state_dict().items())
    assert not loaded.training


def test_a_model_of_release_0_1_is_read(tmp_path: Path) -> None:
    """Its card names the width of the one text part's tokens, and its weights have the names that they have here."""
    denoiser = Denoiser(OURS)
    save_model(tmp_path / "model", denoiser.state_dict(), ModelCard(OURS, Process("diffusion", 1000)))
    content = json.loads((tmp_path / "model" / CARD).read_text(encoding="utf-8"))
    (content["denoiser"]["token_dim"],) = content["denoiser"].pop("token_dims")
    (tmp_path / "model" / CARD).write_text(json.dumps(content), encoding="utf-8")
    loaded, card = load_model(tmp_path / "model")
    assert card.denoiser == OURS
    assert torch.equal(loaded.text_projection.weight, denoiser.text_projection.weight)
    assert not any("further" in name for name in loaded.state_dict())


def test_bfloat16_weights_are_saved_as_float32(denoiser: Denoiser, card: ModelCard, tmp_path: Path) -> None:
    save_model(tmp_path / "model", denoiser.to(torch.bfloat16).state_dict(), card)
    assert {weight.dtype for weight in load_file(tmp_path / "model" / WEIGHTS).values()} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 32}, "the network needs 32|lacks 2 tensors"),
        ({"depth": 3}, "lacks 14 tensors"),
        ({"depth": 1}, "has unknown 14 tensors"),
        ({"token_dims": (13,)}, "text_projection.weight is 16 x 12, the network needs 16 x 13|has unknown 2 tensors"),
        ({"token_dims": (12, 5, 7)}, r"lacks [24] tensors, such as further_text_projections"),
    ],
)
def test_weights_of_another_shape(folder: Path, card: ModelCard, changes: dict[str, Any], message: str) -> None:
    shape = replace(card.denoiser, **changes)
    (folder / CARD).write_text(json.dumps(replace(card, denoiser=shape).to_json()), encoding="utf-8")
    with pytest.raises(CheckpointMismatch, match=message):
        load_model(folder)


def test_missing_and_extra_tensors_are_named(folder: Path) -> None:
    with changed(folder) as tensors:
        tensors["surprise"] = torch.zeros(1)
    with pytest.raises(CheckpointMismatch, match=r"has unknown 1 tensors, such as surprise"):
        load_model(folder)
    with changed(folder) as tensors:
        del tensors["surprise"], tensors["norm.weight"]
    with pytest.raises(CheckpointMismatch, match=r"lacks 1 tensors, such as norm.weight"):
        load_model(folder)


def test_nan_weights_are_refused_in_both_directions(folder: Path, denoiser: Denoiser, card: ModelCard) -> None:
    with changed(folder) as tensors:
        tensors["norm.weight"].fill_(torch.nan)
    with pytest.raises(CheckpointMismatch, match=r"norm.weight holds NaN or infinity"):
        load_model(folder)
    denoiser.norm.weight.fill_(torch.inf)
    with pytest.raises(CheckpointMismatch, match=r"norm.weight holds NaN or infinity"):
        save_model(folder.with_name("other"), denoiser.state_dict(), card)
    assert not folder.with_name("other").exists()


@pytest.mark.parametrize("kept", [0, 5, 200, -10])
def test_a_file_cut_short(folder: Path, kept: int) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:kept])
    with pytest.raises(CheckpointMismatch, match=r"model.safetensors \(\d+ bytes\) is cut short"):
        load_model(folder)


def test_missing_files_and_foreign_cards(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointMismatch, match=r"model.safetensors is not there"):
        load_model(folder)
    for content in ("{", '{"denoiser": {"width": 3}}', '{"hidden_size": 768}', "[]"):
        (folder / CARD).write_text(content, encoding="utf-8")
        with pytest.raises(CheckpointMismatch, match=r"config.json is not a model card"):
            load_model(folder)
    (folder / CARD).unlink()
    with pytest.raises(CheckpointMismatch, match=r"config.json is not there"):
        load_model(folder)
