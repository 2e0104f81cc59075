"""The benchmarks run, and notice when the fast network computes something else."""

from dataclasses import replace

import pytest
import torch

from compodiff.model.network.denoiser import RELEASED
from compodiff.speed import denoiser as sampling
from compodiff.speed import training

TINY = replace(RELEASED, embedding_dim=64, token_dims=(32,), width=64, depth=2, heads=2, head_width=16)


def test_sampling_is_measured() -> None:
    result = sampling.run([(2, 2, 3)], repeats=1, config=TINY)
    (row,) = result["rows"]
    assert (row["batch"], row["draws"], row["steps"]) == (2, 2, 3)
    assert all(value > 0 for value in row.values())
    assert result["equality"]["sampled_error_float32"] < 1e-4


def test_training_is_measured() -> None:
    result = training.run([4], repeats=1, config=TINY)
    (row,) = result["rows"]
    assert all(value > 0 for value in row.values())


@torch.inference_mode()
def test_a_difference_is_noticed() -> None:
    peers = sampling.make_peers(TINY)
    peers.plain["float32"]["blocks.1.feed_forward.up.weight"].mul_(1.01)
    with pytest.raises(ArithmeticError, match="differ"):
        sampling.compare_peers(peers, sampling.make_inputs(TINY, 2, 1))
