"""Training on a GPU: in bfloat16, at each ZeRO stage, resumed, and read through pinned memory."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from worlds import training as world

from compodiff.precision import choose_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed"),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    world.write_embeddings(tmp_path / "embeddings")
    return tmp_path


class Killed(Exception):
    pass


@pytest.mark.parametrize("stage", [0, 2])
def test_it_learns_in_bfloat16_as_in_float32(home: Path, stage: int) -> None:
    changes = {"steps": 40, "validate_every": 10, "checkpoint_every": 100, "zero_stage": stage}
    exact = world.train_in(home, "exact", changes)
    half = world.train_in(home, "half", {**changes, "precision": "bfloat16"})
    assert half["loss"].iloc[-1] < half["loss"].iloc[0]
    np.testing.assert_allclose(half["loss"], exact["loss"], rtol=0.05)


@pytest.mark.parametrize("stage", [0, 2])
def test_a_killed_training_goes_on_where_it_was(home: Path, stage: int) -> None:
    changes = {"precision": "bfloat16", "zero_stage": stage, "checkpoint_every": 3}
    through = world.train_in(home, "through", changes)

    def kill(step: int, _metrics: object) -> None:
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        world.train_in(home, "killed", changes, on_metrics=kill)
    resumed = world.train_in(home, "killed", changes)
    assert list(resumed["step"]) == list(through["step"])
    # Sums of a GPU are in no fixed order.
    np.testing.assert_allclose(resumed["loss"], through["loss"], rtol=1e-3)


def test_the_share_of_the_peak_is_told_where_the_peak_is_known(home: Path) -> None:
    told: list[dict[str, float]] = []
    world.train_in(home, "told", {"precision": "bfloat16"}, on_metrics=lambda _, metrics: told.append(dict(metrics)))
    from compodiff.precision import find_peak

    known = find_peak(choose_device()) is not None
    assert all(("mfu" in metrics) is known for metrics in told)
    assert all(0 < metrics.get("mfu", 0.5) < 1 for metrics in told)


def test_the_weights_of_a_gpu_are_those_of_the_processor(home: Path) -> None:
    from safetensors.torch import load_file

    world.train_in(home, "one", {"steps": 4})
    weights = load_file(home / "one" / "model.safetensors")
    assert all(bool(torch.isfinite(weight).all()) for weight in weights.values())
