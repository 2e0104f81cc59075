"""A training goes on from tensors and plain values; a checkpoint that would run code is refused before it does."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from worlds import training as training_world


class _Poison:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


class _Cut(Exception):
    pass


def _cut_at_step_five(step: int, metrics: Mapping[str, float]) -> None:
    if step >= 5:
        raise _Cut


def test_a_poisoned_checkpoint_runs_nothing(tmp_path: Path) -> None:
    training_world.write_embeddings(tmp_path / "embeddings")
    with pytest.raises(_Cut):
        training_world.train_in(tmp_path, "model", on_metrics=_cut_at_step_five)
    (weights,) = (tmp_path / "model.partial").glob("step-*/mp_rank_00_model_states.pt")
    torch.save({"module": {}, "training": _Poison(tmp_path / "ran")}, weights)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        training_world.train_in(tmp_path, "model")
    assert not (tmp_path / "ran").exists()
