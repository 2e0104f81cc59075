"""What DeepSpeed is told: the learning rate, what decays, and how a batch divides."""

from itertools import pairwise

import pytest
import torch
from factories import make_training_params
from torch import nn
from worlds.training import PARAMS

from compodiff import precision
from compodiff.errors import ParamsInvalid
from compodiff.training.engine import (
    compute_learning_rate_factor,
    divide_batch,
    group_parameters,
    make_deepspeed_config,
)

CPU = torch.device("cpu")


def test_the_learning_rate_warms_up_and_falls_like_a_cosine() -> None:
    params = make_training_params(warmup_steps=4, steps=104)
    factors = [compute_learning_rate_factor(step, params) for step in range(105)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factors[54] == pytest.approx(0.5)
    assert factors[104] == pytest.approx(0.0)
    assert all(later <= earlier for earlier, later in pairwise(factors[4:]))


def test_a_constant_learning_rate_stays() -> None:
    params = make_training_params(learning_rate_schedule="constant", warmup_steps=0)
    assert [compute_learning_rate_factor(step, params) for step in (0, 1, 10**6)] == [1.0, 1.0, 1.0]


def test_only_matrices_decay() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    decayed, kept = group_parameters(network, 0.06)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.06, 0.0)
    assert [parameter.shape for parameter in decayed["params"]] == [torch.Size([4, 3])]
    assert len(kept["params"]) == 3


def test_a_batch_that_does_not_divide_is_refused() -> None:
    params = make_training_params(batch_size=100, accumulation_steps=3)
    with pytest.raises(ParamsInvalid, match=r"batch_size 100 .* 2 processes x 3 .* multiple of 6"):
        divide_batch(params, world_size=2)
    assert divide_batch(params.model_copy(update={"batch_size": 96}), world_size=2) == 16


def test_deepspeed_is_told_what_params_say() -> None:
    params = make_training_params(zero_stage=2, precision="bfloat16", clip_norm=0.5)
    config = make_deepspeed_config(params, 16, CPU)
    assert config["zero_optimization"] == {"stage": 2}
    assert (config["torch_autocast"]["enabled"], config["torch_autocast"]["dtype"]) == (True, "bfloat16")
    assert (config["train_micro_batch_size_per_gpu"], config["gradient_clipping"]) == (16, 0.5)
    assert "torch_autocast" not in make_deepspeed_config(PARAMS, 16, CPU)


def test_auto_is_what_the_self_check_found(monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_training_params(precision="auto")
    for bfloat16, autocast in ((0.5, True), (2.0, False)):
        monkeypatch.setattr(precision, "measure_precisions", lambda _, it=bfloat16: precision.SelfCheck(1.0, it))
        assert ("torch_autocast" in make_deepspeed_config(params, 16, CPU)) is autocast
