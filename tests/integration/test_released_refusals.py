"""Released weights that are not what they should be, and places where no model may be made."""

import shutil
from pathlib import Path

import pytest
import torch
from worlds.command import run_command
from worlds.hub import LoopbackHub
from worlds.released import WEIGHTS_ID, put_on_hub, use_home, write_hub_folders

from compodiff.errors import CompoDiffError, InputInvalid

NAME = "compodiff-aesthetic"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of each model as the hub has them, by hub id."""
    return dict(write_hub_folders(tmp_path_factory.mktemp("hub")))


@pytest.mark.parametrize("wrong", ["a pickle that runs code", "another architecture", "cut short", "other bytes come"])
def test_weights_that_are_not_the_released_ones_make_no_model(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    spoiled = shutil.copytree(folders[WEIGHTS_ID], tmp_path / "spoiled")
    message = spoil(spoiled / "pytorch_model.bin", wrong, tmp_path / "ran")
    with LoopbackHub() as hub:
        put_on_hub(hub, folders | {WEIGHTS_ID: spoiled})
        hub.faults.altered = {"pytorch_model.bin"} if wrong == "other bytes come" else set()
        use_home(tmp_path / "home", monkeypatch, hub)
        with pytest.raises(CompoDiffError, match=message) as refused:
            run_command("get", NAME)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "home" / "models").exists() or not list((tmp_path / "home" / "models").iterdir())
    assert not (tmp_path / "ran").exists()


def spoil(weights: Path, how: str, ran: Path) -> str:
    """Change published weights; return what will be said of them."""
    if how == "other bytes come":
        return "pytorch_model.bin of .* came with the digest"
    if how == "cut short":
        weights.write_bytes(weights.read_bytes()[:-1000])
        return "is cut short or not torch's format; fetch it again"
    tensors = torch.load(weights, weights_only=True)
    if how == "another architecture":
        torch.save({name.replace("net.", "unet."): tensor for name, tensor in tensors.items()}, weights)
        return "not a released checkpoint"
    torch.save(tensors | {"more": MakesAFile(ran)}, weights)
    return "nothing was run"


class MakesAFile:
    """Unpickled, it does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_folder_of_somebodys_is_refused_before_anything_is_fetched(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with LoopbackHub() as hub:
        put_on_hub(hub, folders)
        use_home(tmp_path / "home", monkeypatch, hub)
        with pytest.raises(InputInvalid, match=r"holds 'notes.txt', which compodiff did not write"):
            run_command("get", NAME, "--out", tmp_path / "mine")
        with pytest.raises(InputInvalid, match=r"--out .* is for one model that is made here"):
            run_command("get", "clip-l14", "--out", tmp_path / "there")
        assert hub.asked == []
        run_command("get", NAME, "--out", tmp_path / "there")
    assert (tmp_path / "there" / "composed").is_dir()
    assert not (tmp_path / "home" / "models").exists()
