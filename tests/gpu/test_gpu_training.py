"""Training on a GPU: in bfloat16, at each ZeRO stage, resumed, and read through pinned memory."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from worlds import training as world

from compodiff.precision import choose_device, find_peak
from compodiff.training.fit import make_denoiser

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
    known = find_peak(choose_device()) is not None
    assert all(("mfu" in metrics) is known for metrics in told)
    assert all(0 < metrics.get("mfu", 0.5) < 1 for metrics in told)


def test_a_gpu_moves_the_weights_where_the_processor_does(home: Path) -> None:
    changes = {"steps": 4, "validate_every": 2}
    there = world.train_in(home, "there", changes)
    tests = Path(world.__file__).parents[1]
    subprocess.run(
        [sys.executable, "-m", "worlds.training", home, "here", json.dumps(changes)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])},
        check=True,
    )
    np.testing.assert_allclose(there["loss"], pd.read_csv(home / "here.csv")["loss"], rtol=1e-3)
    begun = make_denoiser(
        world.NETWORK, world.material(home / "embeddings"), standardise=True, seed=world.PARAMS.seed
    ).state_dict()
    moved = [
        torch.cat([(weights[name].float() - begun[name]).flatten() for name in sorted(weights)])
        for weights in (load_file(home / out / "model.safetensors") for out in ("there", "here"))
    ]
    assert all(float(each.norm()) > 0 for each in moved)
    assert float(functional.cosine_similarity(*moved, dim=0)) > 0.95
