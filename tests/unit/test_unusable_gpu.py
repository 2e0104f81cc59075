"""A GPU that is plugged in and that torch cannot use: one line says so, and everything runs on the processor."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from compodiff import machine
from compodiff.doctor import hardware
from compodiff.errors import ResourceUnavailable
from compodiff.execution import local
from compodiff.execution.training_processes import PROCESSES, count_processes
from compodiff.params import Params
from compodiff.precision import choose_device, explain_missing_gpu
from compodiff.speed.gpu import report

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use the GPU of this machine")


@pytest.fixture(autouse=True)
def plugged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two NVIDIA GPUs on the PCI bus and in /dev, and this machine's torch, which finds no driver."""
    monkeypatch.setattr(machine, "PCI", tmp_path / "pci")
    monkeypatch.setattr(local, "DEVICES", tmp_path / "dev")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv(PROCESSES, raising=False)
    (tmp_path / "dev").mkdir()
    for number in range(2):
        (tmp_path / "dev" / f"nvidia{number}").touch()
        device = tmp_path / "pci" / f"0000:0{number}:00.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text("0x10de\n")
        (device / "class").write_text("0x030200\n")
    explain_missing_gpu.cache_clear()
    yield
    explain_missing_gpu.cache_clear()


def test_one_line_says_why_and_the_processor_is_chosen(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert choose_device() == torch.device("cpu")
    (line,) = caplog.messages
    assert line.startswith(f"this machine has an NVIDIA GPU that torch {torch.__version__} cannot use (")
    assert line.endswith("); everything runs on the processor")
    assert "\n" not in line


def test_a_training_takes_one_process_and_workers_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local.list_visible_gpus() == []
    assert count_processes() == 1
    monkeypatch.setenv(PROCESSES, "3")
    assert count_processes() == 3


def test_the_doctor_says_the_same_line(caplog: pytest.LogCaptureFixture) -> None:
    choose_device()
    state, text, remedy = hardware.judge_gpu()
    assert (state, [text]) == ("note", caplog.messages)
    assert "driver" in remedy


def test_measuring_it_is_refused_with_that_line() -> None:
    with pytest.raises(ResourceUnavailable, match=r"an NVIDIA GPU that torch .* cannot use .*; --device cpu tries"):
        next(report.run(Params.model_construct(), report.TINY))


def test_hidden_gpus_are_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert explain_missing_gpu() is None
    assert hardware.judge_gpu() == ("well", "none that torch can use; everything runs without")


def test_without_a_gpu_nothing_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PCI", tmp_path / "none")
    assert explain_missing_gpu() is None
    monkeypatch.setattr(local, "DEVICES", tmp_path / "none")
    assert count_processes() == 1
