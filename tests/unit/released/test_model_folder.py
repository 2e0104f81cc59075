"""Released weights become a model that every command takes, whole or not at all."""

import shutil
from pathlib import Path

import pytest
import torch
from worlds.released import SHAPE, write_checkpoint

from compodiff.encoders import Encoder
from compodiff.errors import CheckpointMismatch, InputInvalid, ResourceUnavailable
from compodiff.hub import read_known
from compodiff.model.checkpoint import load_model
from compodiff.model.dials import read_dials
from compodiff.model.sampling.query import SamplerOptions
from compodiff.released.model_folder import (
    DIALS,
    PICTURE,
    TEXTS,
    choose_model_folder,
    write_model_folder,
)
from compodiff.search.composer import Composer
from compodiff.search.locate import find_model_parts

FITTING = SHAPE.__class__(**{**vars(SHAPE), "token_dims": (32,)})  # as wide as the tiny encoder's texts
ORIGIN = {"hub_id": "org/name", "revision": "c" * 40}


@pytest.fixture
def released(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "hub", FITTING)
    return tmp_path / "hub"


def test_a_model_folder_holds_all_that_a_command_asks_for(
    released: Path, tmp_path: Path, tiny_encoder: Encoder
) -> None:
    write_model_folder(released, tmp_path / "made", lambda: tiny_encoder, ORIGIN)
    parts = find_model_parts(str(tmp_path / "made"))
    _, card = load_model(parts.composed)
    assert card.trained_with == {"released": "pytorch_model.bin"} | ORIGIN
    assert read_dials(parts.composed, card) == DIALS
    composer = Composer.load(parts.composed, parts.encoder)
    options = SamplerOptions.of(composer.sampling)
    assert (options.grid, options.solver, options.num_inference_steps, options.draws) == ("legacy", "ddim", 10, 2)
    assert (options.w_image, options.w_text, options.eta) == (1.5, 7.5, 1.0)
    assert (options.reference_mixing, options.masked_reference_mixing) == (0.1, 0.05)
    assert not [path for path in (tmp_path / "made").rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]


def test_it_is_made_anew_over_an_earlier_one_and_nothing_else(
    released: Path, tmp_path: Path, tiny_encoder: Encoder
) -> None:
    made = tmp_path / "made"
    for _ in range(2):
        write_model_folder(released, made, lambda: tiny_encoder, ORIGIN)
    (made / "notes.txt").write_text("mine")
    for folder in (made, released, released.parent):
        before = sorted(folder.rglob("*"))
        with pytest.raises(InputInvalid):
            write_model_folder(released, folder, lambda: tiny_encoder, ORIGIN)
        assert sorted(folder.rglob("*")) == before
    model = read_known()["compodiff-aesthetic"]
    with pytest.raises(InputInvalid, match=r"holds 'notes.txt', which compodiff did not write"):
        choose_model_folder(model, made)  # before twelve gigabytes are fetched


def test_weights_of_another_encoder_are_refused(tmp_path: Path, tiny_encoder: Encoder) -> None:
    write_checkpoint(tmp_path / "hub")
    with pytest.raises(
        CheckpointMismatch, match=r"takes pictures 16 and texts 24 wide, the encoder makes 16 and texts 32"
    ):
        write_model_folder(tmp_path / "hub", tmp_path / "made", lambda: tiny_encoder, ORIGIN)
    assert not (tmp_path / "made").exists()


def test_a_full_disk_leaves_nothing(released: Path, disk: Path, tiny_encoder: Encoder) -> None:
    with pytest.raises(ResourceUnavailable, match=r"no space left on the disk while writing .*; free some"):
        write_model_folder(released, disk / "made", lambda: tiny_encoder, ORIGIN)
    assert list(disk.iterdir()) == []


def test_a_killed_conversion_leaves_what_was_there(
    released: Path, tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    write_model_folder(released, made, lambda: tiny_encoder, ORIGIN)
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("compodiff.released.model_folder.save_model", stop)
    with pytest.raises(KeyboardInterrupt):
        write_model_folder(released, made, lambda: tiny_encoder, ORIGIN)
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


def test_a_pickle_that_would_run_code_makes_no_model(tmp_path: Path, tiny_encoder: Encoder) -> None:
    (tmp_path / "hub").mkdir()
    torch.save({"net": torch.nn.Linear(1, 1)}, tmp_path / "hub" / "pytorch_model.bin")
    with pytest.raises(CheckpointMismatch, match=r"asks for torch.nn.modules.linear.Linear, .* nothing was run"):
        write_model_folder(tmp_path / "hub", tmp_path / "made", lambda: tiny_encoder, ORIGIN)
    assert not (tmp_path / "made").exists()


def test_what_the_model_needs_is_what_get_fetches_with_it() -> None:
    assert read_known()["compodiff-aesthetic"].needs == (PICTURE.name, *(text.name for text in TEXTS))


def test_a_name_stands_for_a_model_among_the_users_own(
    released: Path, tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "compodiff-aesthetic"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPODIFF_HOME", str(tmp_path / "home"))
    with pytest.raises(InputInvalid, match=f"^the model {name} is not on this machine; run: compodiff get {name}$"):
        find_model_parts(name)
    place = choose_model_folder(read_known()[name])
    assert place == tmp_path / "home" / "models" / name
    write_model_folder(released, place, lambda: tiny_encoder, ORIGIN)
    assert find_model_parts(name).folder == find_model_parts("navervision/CompoDiff-Aesthetic").folder == place
    monkeypatch.delenv("COMPODIFF_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert choose_model_folder(read_known()[name]) == tmp_path / "data" / "compodiff" / "models" / name
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert choose_model_folder(read_known()[name]) == tmp_path / ".local/share/compodiff/models" / name
    shutil.copytree(place, tmp_path / name)
    assert find_model_parts(name).folder == Path(name)  # a folder of that name comes first
