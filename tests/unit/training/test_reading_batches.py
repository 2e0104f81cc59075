"""Batches are read for their steps: the same ones, none beyond the last, and an error comes with its step."""

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from worlds import training as training_world

from compodiff.errors import InputInvalid
from compodiff.model.sampling.process import Process
from compodiff.training.batch import Batch
from compodiff.training.batches import Batches
from compodiff.training.engine import TrainingProcess
from compodiff.training.reading import read_batches

HERE = TrainingProcess(0, 1, torch.device("cpu"))


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    training_world.write_embeddings(tmp_path / "embeddings")
    params = training_world.PARAMS.model_copy(update={"accumulation_steps": 2})
    return Batches(training_world.material(tmp_path / "embeddings").mixture, params, Process("diffusion", 1000))


@dataclass
class Watched:
    """Batches that note which steps are read, and cannot read some."""

    batches: Batches
    broken: frozenset[int] = frozenset()
    read: list[int] = field(default_factory=list)

    def make_microbatches(self, step: int, *, rank: int, world_size: int) -> list[Batch]:
        self.read.append(step)
        if step in self.broken:
            raise InputInvalid(f"step {step} is damaged")
        return self.batches.make_microbatches(step, rank=rank, world_size=world_size)


def list_tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, tuple):  # text parts
        return [tensor for part in value for tensor in list_tensors(part)]
    if not is_dataclass(value):
        return [value]
    return [tensor for each in fields(value) for tensor in list_tensors(getattr(value, each.name))]


def test_batches_are_those_of_their_steps(batches: Batches) -> None:
    watched = Watched(batches)
    read = list(read_batches(watched, range(3, 6), HERE))  # type: ignore[arg-type]
    assert watched.read == [3, 4, 5]
    for step, microbatches in zip(range(3, 6), read, strict=True):
        expected = batches.make_microbatches(step, rank=0, world_size=1)
        assert len(microbatches) == len(expected) == 2
        for batch, other in zip(microbatches, expected, strict=True):
            pairs = zip(list_tensors(batch), list_tensors(other), strict=True)
            assert all(torch.equal(one, two) for one, two in pairs)


def test_a_step_that_cannot_be_read_stops_at_its_turn(batches: Batches) -> None:
    steps = read_batches(Watched(batches, frozenset({1})), range(3), HERE)  # type: ignore[arg-type]
    next(steps)
    with pytest.raises(InputInvalid, match="step 1 is damaged"):
        next(steps)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="has no meaning on the processor")
def test_a_gpu_gets_them_copied_and_the_cpu_keeps_what_it_reads(batches: Batches) -> None:
    worker = TrainingProcess(0, 1, torch.device("cuda", 0))
    for step, microbatches in enumerate(read_batches(batches, range(3), worker)):
        for batch, other in zip(microbatches, batches.make_microbatches(step, rank=0, world_size=1), strict=True):
            assert batch.noise.is_cuda
            assert not batch.texts.parts[0].lengths.is_cuda
            assert all(
                torch.equal(one.cpu(), two) for one, two in zip(list_tensors(batch), list_tensors(other), strict=True)
            )
