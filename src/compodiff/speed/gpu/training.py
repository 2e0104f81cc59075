"""A training step at the paper's size, split into its parts, and the training loop as it runs."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from compodiff.model.network.denoiser import DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.params import DenoiserParams, TaskShares, TrainingParams
from compodiff.speed.gpu.timing import Row, wait_for
from compodiff.speed.wide_arrays import WIDE, Widths, open_material
from compodiff.training.batch import Batch
from compodiff.training.batches import Batches
from compodiff.training.engine import Engine, TrainingProcess, group_parameters, join_workers
from compodiff.training.fit import make_denoiser
from compodiff.training.loop import average_weights
from compodiff.training.reading import read_batches
from compodiff.training.tasks import Objective
from compodiff.training.throughput import count_operations

PARTS = ("batch", "copy", "forward and backward", "step", "average")
_KERNELS = 12  # of the profile, the longest


@dataclass(frozen=True)
class TrainingSetup:
    """What is trained.

    Attributes:
        params: of stage 2 at the paper's size.
        denoiser: the network's shape.
        widths: of embeddings and text tokens.
        steps: that are timed.
        peaks: operations a second of the device: "measured" and, where it is known, "data sheet".
    """

    params: TrainingParams
    denoiser: DenoiserParams
    widths: Widths
    steps: int
    peaks: dict[str, float]


class _Steps(Protocol):
    """What an `Engine` does in a step."""

    def add_gradients(self, batch: Batch) -> Tensor: ...

    def step(self) -> None: ...


class _PlainSteps:
    """The same step without DeepSpeed: what DeepSpeed costs is seen beside it."""

    def __init__(self, objective: Objective, params: TrainingParams, worker: TrainingProcess) -> None:
        self._objective, self._params, self._device = objective.to(worker.device), params, worker.device
        groups = group_parameters(objective, params.weight_decay)
        self._optimizer = torch.optim.AdamW(groups, lr=params.learning_rate, betas=(0.9, 0.999), fused=True)

    def add_gradients(self, batch: Batch) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16):
            loss: Tensor = self._objective(batch)
        torch.autograd.backward(loss)
        return loss.detach().double()

    def step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self._objective.parameters(), self._params.clip_norm, foreach=True)
        self._optimizer.step()
        self._optimizer.zero_grad()


class _Trained:
    """A network and what it learns from, ready for steps."""

    def __init__(self, home: Path, setup: TrainingSetup, *, zero_stage: int | None, compiled: bool) -> None:
        """Make it anew; `zero_stage` None trains without DeepSpeed."""
        tasks = TaskShares(text_to_image={WIDE: 0.3}, masked={WIDE: 0.3}, triplet={WIDE: 0.4})
        changes: dict[str, Any] = {"tasks": tasks, "precision": "bfloat16", "zero_stage": zero_stage or 0}
        params = setup.params.model_copy(update=changes)
        self.params, self.worker, material = params, _join(zero_stage), open_material(home)
        widths = setup.widths
        config = DenoiserConfig.of(setup.denoiser, embedding_dim=widths.embedding_dim, token_dims=(widths.token_dim,))
        self.network = make_denoiser(config, material, standardise=False, seed=17)
        process = Process(params.objective, setup.denoiser.num_train_timesteps)
        self.average = deepcopy(self.network).to(self.worker.device).requires_grad_(requires_grad=False)
        self.batches = Batches(material.mixture, params, process)
        objective = Objective(self.network, params, process)
        if compiled:
            compile_blocks(self.network)
        make: Callable[..., _Steps] = _PlainSteps if zero_stage is None else Engine
        self.engine = make(objective, params, self.worker)

    def read(self, step: int) -> list[Batch]:
        """Return the microbatches of a step, in the processor's memory."""
        return self.batches.make_microbatches(step, rank=0, world_size=1)

    def copy(self, microbatches: list[Batch]) -> list[Batch]:
        """Copy them as a training does."""
        device = self.worker.device
        return [batch.pin_memory().to(device) if device.type == "cuda" else batch for batch in microbatches]

    def add_gradients(self, microbatches: list[Batch]) -> float:
        """Return the loss, as the training waits for it."""
        return float(sum(self.engine.add_gradients(batch) for batch in microbatches))

    def average_weights(self) -> None:
        """Move the average."""
        average_weights(self.average, self.network, step=100, decay=self.params.ema_decay)

    def take_step(self, microbatches: list[Batch]) -> None:
        """Do all that follows the copy."""
        self.add_gradients(microbatches)
        self.engine.step()
        self.average_weights()


def compile_blocks(network: nn.Module) -> None:
    """Let torch compile the blocks of a denoiser in place, for contexts of any length."""
    for block in network.blocks:  # type: ignore[union-attr]
        block.compile(dynamic=True)


def measure_training(
    name: str, home: Path, setup: TrainingSetup, *, zero_stage: int | None, compiled: bool = False
) -> Iterator[Row]:
    """Yield the figures of one way to train."""
    trained = _Trained(home, setup, zero_stage=zero_stage, compiled=compiled)
    device, rows = trained.worker.device, trained.params.batch_size
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    resident = trained.copy(trained.read(0))
    operations = 0.0
    if not compiled:  # a compiled block hides what it multiplies
        _, operations = count_operations(lambda: trained.add_gradients(resident))
        trained.engine.step()
        yield Row(name, "products of a step", operations / 1e12, "TFLOP")
    start = time.perf_counter()
    for step in range(1, 4):
        trained.take_step(trained.copy(trained.read(step)))
    wait_for(device)
    yield Row(name, "first three steps", time.perf_counter() - start, "s")
    split = _split_steps(trained, setup.steps)
    for part, seconds in split.items():
        yield Row(name, f"step: {part}", 1000 * seconds, "ms")
    yield Row(name, "step: all of these", 1000 * sum(split.values()), "ms")
    alone = _time_steps(trained, setup.steps, resident)
    yield Row(name, "step on a batch that is on the device", 1000 * alone, "ms")
    whole = _time_loop(trained, setup.steps)
    yield Row(name, "step of the training loop", 1000 * whole, "ms")
    yield Row(name, "training loop", rows / whole, "rows/s")
    yield from _list_shares(name, setup, operations, {"training loop": whole, "on the device": alone})
    if device.type == "cuda":
        yield Row(name, "memory of the device at most", torch.cuda.max_memory_allocated(device) / 1e9, "GB")


def profile_step(name: str, home: Path, setup: TrainingSetup) -> Iterator[Row]:
    """Yield what the device does in a step: launches, how long it is busy, and the kernels that take longest."""
    trained = _Trained(home, setup, zero_stage=None, compiled=False)
    resident = trained.copy(trained.read(0))
    for _ in range(3):
        trained.take_step(resident)
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if trained.worker.device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        trained.take_step(resident)
        wait_for(trained.worker.device)
    own = [event for event in profile.key_averages() if event.self_device_time_total > 0 and not event.cpu_time_total]
    yield Row(name, "kernels of a step", float(sum(event.count for event in own)))
    yield Row(name, "kernels' time", sum(event.self_device_time_total for event in own) / 1000, "ms")
    for event in sorted(own, key=lambda event: -event.self_device_time_total)[:_KERNELS]:
        yield Row(name, f"{event.count} x {event.key[:70]}", event.self_device_time_total / 1000, "ms")


def _join(zero_stage: int | None) -> TrainingProcess:
    if zero_stage is not None:
        return join_workers()
    return TrainingProcess(0, 1, torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu"))


def _split_steps(trained: _Trained, steps: int) -> dict[str, float]:
    """Return the median seconds of each part, one after the other, each waited for."""
    seconds: dict[str, list[float]] = {part: [] for part in PARTS}
    device = trained.worker.device

    def time_part(part: str, work: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        result = work(*arguments)
        wait_for(device)
        seconds[part].append(time.perf_counter() - start)
        return result

    for step in range(steps):
        copied = time_part("copy", trained.copy, time_part("batch", trained.read, 10 + step))
        time_part("forward and backward", trained.add_gradients, copied)
        time_part("step", trained.engine.step)
        time_part("average", trained.average_weights)
    return {part: statistics.median(taken) for part, taken in seconds.items()}


def _time_steps(trained: _Trained, steps: int, resident: list[Batch]) -> float:
    """Return the seconds of a step where nothing has to be read or copied."""
    wait_for(trained.worker.device)
    start = time.perf_counter()
    for _ in range(steps):
        trained.take_step(resident)
    wait_for(trained.worker.device)
    return (time.perf_counter() - start) / steps


def _time_loop(trained: _Trained, steps: int) -> float:
    """Return the seconds of a step of the training loop, which reads ahead; the first ones fill its pipe."""
    filling = 3
    start = 0.0
    with closing(read_batches(trained.batches, range(100, 100 + filling + steps), trained.worker)) as read:
        for number, microbatches in enumerate(read):
            if number == filling:
                wait_for(trained.worker.device)
                start = time.perf_counter()
            trained.take_step(microbatches)
    wait_for(trained.worker.device)
    return (time.perf_counter() - start) / steps


def _list_shares(name: str, setup: TrainingSetup, operations: float, seconds: dict[str, float]) -> Iterator[Row]:
    """Yield the share of each peak (MFU) that is reached where a step takes these seconds."""
    if not operations:
        return
    for what, taken in seconds.items():
        for which, peak in setup.peaks.items():
            yield Row(name, f"MFU of the {which} peak, {what}", 100 * operations / taken / peak, "%")
