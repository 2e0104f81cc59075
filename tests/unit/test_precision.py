"""The precision that fits the machine, and every fast path on a processor that is held down to AVX2."""

import logging
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from compodiff import precision
from compodiff.precision import SelfCheck, choose_precision, describe_choice, find_peak, measure_precisions

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
HELD_DOWN = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
# All that has a path of its own for a processor that multiplies bfloat16.
FAST_PATHS = (
    "tests/unit/model/test_inference.py",
    "tests/unit/speed/test_bench.py",
    "tests/unit/model/test_sampler.py",
    "tests/unit/search/test_composer.py",
    "tests/integration/test_training.py::test_sharding_accumulation_and_precision_change_only_the_rounding",
)
on_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN holds down x86 only")


@pytest.fixture
def checked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SelfCheck:
    check = SelfCheck(float32=1e-3, bfloat16=1e-3 * request.param)
    monkeypatch.setattr(precision, "measure_precisions", lambda device: check)
    precision._warn_of_emulation.cache_clear()
    return check


@pytest.mark.parametrize(
    ("checked", "chosen"), [(0.5, "bfloat16"), (1.6, "float32"), (23.0, "float32")], indirect=["checked"]
)
def test_auto_takes_the_faster(checked: SelfCheck, chosen: str) -> None:
    assert choose_precision("auto", CPU) == checked.fastest == chosen
    assert describe_choice("auto", CPU).startswith(f"{chosen}: a product in bfloat16 takes {checked.ratio:.2g} x")


@pytest.mark.parametrize("checked", [23.0], indirect=True)
def test_what_is_asked_for_by_name_is_taken_and_said_once_where_it_is_slow(
    checked: SelfCheck, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert [choose_precision("bfloat16", CPU) for _ in "ab"] == ["bfloat16", "bfloat16"]
        assert choose_precision("float32", CPU) == "float32"
    (line,) = caplog.messages
    assert "takes 23 x the time of float32" in line
    assert describe_choice("bfloat16", CPU) == "bfloat16, as params.yaml says"


@pytest.mark.parametrize("checked", [0.5], indirect=True)
def test_nothing_is_said_where_it_is_fast(checked: SelfCheck, caplog: pytest.LogCaptureFixture) -> None:
    assert choose_precision("bfloat16", CPU) == "bfloat16"
    assert not caplog.messages


def test_the_self_check_takes_milliseconds_whatever_the_caller_is_in() -> None:
    with torch.inference_mode():
        check = measure_precisions.__wrapped__("cpu")
    assert 0 < check.float32 < 0.5
    assert 0 < check.bfloat16 < 5


@on_x86
def test_holding_down_has_its_effect() -> None:
    script = (
        "import torch; from compodiff.model.inference import can_pack; from compodiff.precision import *;"
        "print(torch.backends.cpu.get_cpu_capability(), can_pack(torch.float32), can_pack(torch.bfloat16),"
        " choose_precision('auto', torch.device('cpu')), measure_precisions('cpu').ratio > 2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **HELD_DOWN}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["AVX2", "True", "False", "float32", "True"]


@on_x86
@pytest.mark.skipif(HELD_DOWN.items() <= os.environ.items(), reason="this is the run that is held down")
def test_every_fast_path_holds_on_a_processor_without_it() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *FAST_PATHS]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **HELD_DOWN}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA A10", 125.0),
        ("NVIDIA A10G", 70.0),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA RTX A1000", None),
        ("cpu", None),
    ],
)
def test_the_peak_is_that_of_the_card_itself(
    monkeypatch: pytest.MonkeyPatch, name: str, teraflops: float | None
) -> None:
    monkeypatch.setattr(precision, "name_device", lambda _: name)
    assert find_peak(CPU) == (None if teraflops is None else pytest.approx(teraflops * 1e12))
