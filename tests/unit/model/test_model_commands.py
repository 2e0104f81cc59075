"""`compodiff convert` and `compodiff bench` from the shell's side."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner
from worlds.networks import TINY

from compodiff.cli import app
from compodiff.errors import CheckpointMismatch
from compodiff.model.checkpoint import WEIGHTS, ModelCard, save_model
from compodiff.model.network.denoiser import Denoiser
from compodiff.model.sampling.process import Process
from compodiff.speed import denoiser as sampling


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "ours", Denoiser(TINY).state_dict(), ModelCard(TINY, Process("diffusion", 50)))
    return tmp_path


def test_convert_there_and_back(folder: Path) -> None:
    there = CliRunner().invoke(app, ["convert", str(folder / "ours"), "--to", str(folder / "hub"), "--released"])
    assert there.exit_code == 0, there.output
    back = CliRunner().invoke(app, ["convert", str(folder / "hub"), "--to", str(folder / "again")])
    assert back.exit_code == 0, back.output
    assert "depth 2, width 16, 2 heads, text tokens 12 wide" in back.output
    ours, again = (load_file(folder / name / WEIGHTS) for name in ("ours", "again"))
    assert all(torch.equal(ours[name], again[name]) for name in ours)


def test_convert_runs_no_code_of_a_pickle(folder: Path) -> None:
    (folder / "hub").mkdir()
    torch.save({"model.net.weight": _MakesAFile(folder / "ran")}, folder / "hub" / "pytorch_model.bin")
    refused = CliRunner().invoke(app, ["convert", str(folder / "hub"), "--to", str(folder / "again")])
    assert isinstance(refused.exception, CheckpointMismatch)
    assert not (folder / "again").exists()
    assert not (folder / "ran").exists()


class _MakesAFile:
    """Unpickled, it does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_bench_prints_one_line_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = sampling.run
    monkeypatch.setattr(sampling, "HEADLINE", ((1, 1, 2),))
    monkeypatch.setattr(sampling, "run", lambda cases, repeats: measure(cases, repeats, TINY))
    shown = CliRunner().invoke(app, ["bench", "denoiser", "--headline", "--repeats", "1"])
    assert shown.exit_code == 0, shown.output
    assert "batch 1  draws 1  steps 2" in shown.output
    assert "ratio_float32" in shown.output
