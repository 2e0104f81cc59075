"""Weights on a CPU are the file's own pages: processes share them, and loading copies nothing."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from worlds.tiny_models import save_clip, save_siglip, save_t5

from compodiff.encoders import Encoder, assemble_encoder, load_encoder, save_encoder
from compodiff.params import PartParams


def find_mapped(path: Path) -> list[range]:
    """Addresses at which this process has the file in memory."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if line.endswith(str(path))]
    return [range(int(start, 16), int(end, 16)) for start, end in spans]


def share_mapped(encoder: Encoder, folder: Path) -> float:
    """Return the share of the weights' bytes that lie in mapped files of safetensors below `folder`."""
    spans = [span for path in folder.rglob("*.safetensors") for span in find_mapped(path.resolve())]
    tensors = {each.data_ptr(): each for tower in encoder.towers for each in tower.module.parameters()}
    sizes = {address: each.numel() * each.element_size() for address, each in tensors.items()}
    mapped = sum(size for address, size in sizes.items() if any(address in span for span in spans))
    return mapped / sum(sizes.values())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("save", [save_clip, save_siglip])
def test_weights_of_transformers_are_mapped(save: Callable[[Path], Any], tmp_path: Path) -> None:
    save(tmp_path / "model")
    save_t5(tmp_path / "t5")
    part, t5 = (PartParams(name=str(tmp_path / name)) for name in ("model", "t5"))
    save_encoder(assemble_encoder(part, [part, t5]), tmp_path / "encoder")
    assert share_mapped(load_encoder(tmp_path / "encoder"), tmp_path / "encoder") > 0.99


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_weights_of_open_clip_are_mapped(tiny_encoder: Encoder, tmp_path: Path) -> None:
    save_encoder(tiny_encoder, tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    assert share_mapped(loaded, tmp_path / "encoder") > 0.99
    assert share_mapped(tiny_encoder, tmp_path / "encoder") == 0
