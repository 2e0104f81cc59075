"""Released weights there and back."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from worlds.released import save_as_published

from compodiff.errors import CheckpointMismatch, InputInvalid
from compodiff.model.checkpoint import WEIGHTS, ModelCard, load_model, save_model
from compodiff.model.network.denoiser import RELEASED, Denoiser, DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.released.conversion import export_released, import_released
from compodiff.released.weights import convert_from_released, convert_to_released, make_schedule_tensors

PARITY = Path(os.environ.get("COMPODIFF_PARITY_DIR", Path(__file__).parents[4] / "shared" / "parity"))
MANIFEST = PARITY / "released_checkpoint_manifest.json"
SHAPE = replace(RELEASED, embedding_dim=32, token_dims=(20,), width=32, depth=2, heads=2, head_width=16)


@pytest.fixture
def released(make_denoiser: Callable[[DenoiserConfig], Denoiser], tmp_path: Path) -> Path:
    """A hub folder of the released form, with weights of no meaning."""
    denoiser = make_denoiser(SHAPE)
    denoiser.constants.embedding_mean.zero_()
    denoiser.constants.embedding_std.fill_(1)
    save_model(tmp_path / "made", denoiser.state_dict(), ModelCard(SHAPE, Process("diffusion", 50)))
    export_released(tmp_path / "made", tmp_path / "released")
    return tmp_path / "released"


def test_there_and_back_is_exact(released: Path, tmp_path: Path) -> None:
    card = import_released(released, tmp_path / "ours")
    assert (card.denoiser, card.process) == (SHAPE, Process("diffusion", 50))
    made, ours = (load_file(tmp_path / name / WEIGHTS) for name in ("made", "ours"))
    assert made.keys() == ours.keys()
    assert all(torch.equal(made[name], ours[name]) for name in made)
    export_released(tmp_path / "ours", tmp_path / "back")
    there, back = (load_file(folder / WEIGHTS) for folder in (released, tmp_path / "back"))
    assert all(torch.equal(there[name], back[name]) for name in there)
    assert json.loads((tmp_path / "back" / "config.json").read_text(encoding="utf-8"))["model_heads"] == 2


def test_names_without_prefix_and_rotary_tensors_stored_once(released: Path, tmp_path: Path) -> None:
    tensors = {name.removeprefix("model."): tensor for name, tensor in load_file(released / WEIGHTS).items()}
    del tensors["net.transformer.layers.1.0.rotary_emb.freqs"]
    save_file(tensors, released / WEIGHTS)
    import_released(released, tmp_path / "ours")
    denoiser, _ = load_model(tmp_path / "ours")
    assert torch.equal(denoiser.constants.rotary_frequencies, tensors["net.transformer.layers.0.0.rotary_emb.freqs"])


@pytest.mark.skipif(not MANIFEST.is_file(), reason="the released checkpoint's manifest is not here")
def test_every_released_tensor_has_its_place() -> None:
    stored = json.loads(MANIFEST.read_text(encoding="utf-8"))
    # Tensors of the published shapes that take no memory.
    tensors = {f"model.{name}": torch.zeros(()).expand(shape) for name, (shape, _) in stored["state_dict"].items()}
    tensors |= {f"model.noise_scheduler.{name}": tensor for name, tensor in make_schedule_tensors(1000).items()}
    config, timesteps, ours = convert_from_released(tensors)
    assert (config, timesteps) == (RELEASED, stored["config"]["timesteps"])
    with torch.device("meta"):
        denoiser = Denoiser(config)
    denoiser.load_state_dict(ours, assign=True)
    assert sum(weight.numel() for weight in denoiser.parameters()) + 16 == stored["parameters"]
    back = convert_to_released(config, timesteps, ours)
    assert {name: list(tensor.shape) for name, tensor in back.items()} == {
        name: shape for name, (shape, _) in stored["state_dict"].items()
    }


def spoil_rotary(tensors: dict[str, Tensor]) -> None:
    tensors["model.net.transformer.layers.1.0.rotary_emb.freqs"].mul_(2)


def spoil_schedule(tensors: dict[str, Tensor]) -> None:
    tensors["model.noise_scheduler.betas"] = torch.linspace(1e-4, 2e-2, 50)


def drop(name: str) -> Callable[[dict[str, Tensor]], None]:
    def dropped(tensors: dict[str, Tensor]) -> None:
        del tensors[f"model.{name}"]

    return dropped


def add_one(tensors: dict[str, Tensor]) -> None:
    tensors["extra"] = torch.zeros(1)


def spoil_a_weight(tensors: dict[str, Tensor]) -> None:
    tensors["model.net.transformer.norm.g"].fill_(torch.nan)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (spoil_rotary, "rotary frequencies are missing or differ"),
        (spoil_schedule, "not the cosine schedule's"),
        (drop("noise_scheduler.betas"), "noise_scheduler.betas is missing"),
        (drop("net.transformer.norm.g"), "1 tensors are missing: net.transformer.norm.g"),
        (drop("net.to_text_embeds.0.weight"), "net.to_text_embeds.0.weight is missing"),
        (add_one, "1 tensors are unknown: extra"),
        (spoil_a_weight, "holds NaN"),
    ],
)
def test_what_is_not_a_released_checkpoint(
    released: Path, tmp_path: Path, changes: Callable[[dict[str, Tensor]], None], message: str
) -> None:
    tensors = load_file(released / WEIGHTS)
    changes(tensors)
    save_file(tensors, released / WEIGHTS)
    with pytest.raises(CheckpointMismatch, match=message):
        import_released(released, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_a_folder_as_it_is_published_gives_the_same_model(released: Path, tmp_path: Path) -> None:
    save_as_published(load_file(released / WEIGHTS), released)
    (released / WEIGHTS).unlink()
    card = import_released(released, tmp_path / "ours")
    assert (card.denoiser, card.trained_with) == (SHAPE, {"released": "pytorch_model.bin"})
    made, ours = (load_file(tmp_path / name / WEIGHTS) for name in ("made", "ours"))
    assert made.keys() == ours.keys()
    assert all(torch.equal(made[name], ours[name]) for name in made)
    assert {path.suffix for path in (tmp_path / "ours").iterdir()} == {".safetensors", ".json"}


def test_a_config_of_other_weights_is_refused(released: Path, tmp_path: Path) -> None:
    config = json.loads((released / "config.json").read_text(encoding="utf-8"))
    for content, message in (
        (json.dumps(config | {"model_depth": 12}), "says model_depth 12, the weights have 2"),
        ("[]", "is not a configuration"),
        ("{", "is not JSON"),
    ):
        (released / "config.json").write_text(content, encoding="utf-8")
        with pytest.raises((CheckpointMismatch, InputInvalid), match=message):
            import_released(released, tmp_path / "ours")
        assert not (tmp_path / "ours").exists()
    (released / "config.json").unlink()
    assert import_released(released, tmp_path / "ours").denoiser == SHAPE


def test_folders_without_one_file_of_weights(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match="is not a folder"):
        import_released(tmp_path / "nowhere", tmp_path / "ours")
    with pytest.raises(CheckpointMismatch, match=r"holds no weights; it is published as pytorch_model.bin"):
        import_released(tmp_path, tmp_path / "ours")
    for suffix in ("bin", "safetensors"):
        for name in ("a", "b"):
            (tmp_path / f"{name}.{suffix}").write_bytes(b"never read")
        with pytest.raises(CheckpointMismatch, match="holds 2 files of weights"):
            import_released(tmp_path, tmp_path / "ours")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_tensors_of_other_shapes_are_refused(released: Path, tmp_path: Path, data: st.DataObject) -> None:
    tensors = load_file(released / WEIGHTS)
    # Of the schedule, the betas alone are read.
    read = sorted(name for name in tensors if "noise_scheduler" not in name or name.endswith(".betas"))
    tensors[data.draw(st.sampled_from(read))] = torch.zeros(data.draw(st.lists(st.integers(0, 5), max_size=3)))
    with pytest.raises(CheckpointMismatch):
        import_weights(tensors, tmp_path)


@pytest.mark.parametrize("part", ["0.to_q", "1.to_q", "2.5"])
def test_a_matrix_too_small_for_one_head_or_one_width_is_named(released: Path, tmp_path: Path, part: str) -> None:
    name = f"model.net.transformer.layers.0.{part}.weight"
    with pytest.raises(
        CheckpointMismatch, match=rf"layers\.0\.{re.escape(part)}\.weight has the shape \(1, 1\), which"
    ):
        import_weights(load_file(released / WEIGHTS) | {name: torch.zeros(1, 1)}, tmp_path)


def import_weights(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    changed.mkdir(exist_ok=True)
    torch.save(tensors, changed / "pytorch_model.bin")
    import_released(changed, tmp_path / "ours")


def test_our_options_have_no_released_form(denoiser: Denoiser, tmp_path: Path) -> None:
    save_model(tmp_path / "made", denoiser.state_dict(), ModelCard(denoiser.config, Process("diffusion", 50)))
    with pytest.raises(CheckpointMismatch, match="the released form knows no residual"):
        export_released(tmp_path / "made", tmp_path / "back")
    save_model(tmp_path / "made", denoiser.state_dict(), ModelCard(denoiser.config, Process("regression", 50)))
    with pytest.raises(CheckpointMismatch, match="was trained for regression"):
        export_released(tmp_path / "made", tmp_path / "back")


def test_neither_have_two_text_parts(make_denoiser: Callable[[DenoiserConfig], Denoiser], tmp_path: Path) -> None:
    shape = replace(SHAPE, token_dims=(20, 12))
    denoiser = make_denoiser(shape)
    denoiser.constants.embedding_mean.zero_()
    denoiser.constants.embedding_std.fill_(1)
    save_model(tmp_path / "made", denoiser.state_dict(), ModelCard(shape, Process("diffusion", 50)))
    with pytest.raises(CheckpointMismatch, match=r"the released form knows no .* further text parts"):
        export_released(tmp_path / "made", tmp_path / "back")
