"""The training loop of both stages: zero gradients, microbatches, forward and backward, clip, step, log.

A batch is a function of (seed, step), so that a checkpoint needs no random state: the resumed run sees what the killed
one would have seen, and its losses are the same.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from compodiff.errors import ParamsInvalid, TrainingStopped
from compodiff.execution.stopping import await_stop
from compodiff.params import TrainingParams
from compodiff.training.batch import Batch
from compodiff.training.batches import Batches
from compodiff.training.curve import CurvePoint, write_curve
from compodiff.training.engine import Engine
from compodiff.training.reading import read_batches
from compodiff.training.resume import Checkpoints
from compodiff.training.stopping import is_stop_due, name_lost_process
from compodiff.training.throughput import Throughput


@dataclass(frozen=True)
class Training:
    """What a training is made of.

    Attributes:
        params: its section of params.yaml.
        engine: the network that is trained, under DeepSpeed.
        average: a copy of that network for the moving average of its weights (EMA): what is measured and kept.
        batches: what it learns from.
        measure: the average network -> cosine and recall_at_10 on the validation queries.
        checkpoints: where it goes on after a kill.
        curve: the CSV file that shows learning.
        on_metrics: told each point of the curve.
    """

    params: TrainingParams
    engine: Engine
    average: nn.Module
    batches: Batches
    measure: Callable[[], Mapping[str, float]]
    checkpoints: Checkpoints
    curve: Path
    on_metrics: Callable[[int, Mapping[str, float]], None]


@dataclass
class TrainingProgress:
    """How far a training is: what a checkpoint holds beside weights and optimizer.

    Attributes:
        step: steps taken.
        losses: of each step since the last point of the curve.
        points: the curve.
    """

    step: int
    losses: list[float]
    points: list[CurvePoint]


def train(training: Training) -> None:
    """Train to the last step, from the last checkpoint if there is one; the result is `training.average`.

    Raises:
        ParamsInvalid: the loss is not finite.
        CheckpointMismatch: the checkpoint is of this training on another machine.
        ResourceUnavailable: the disk is full.
        TrainingStopped: SIGTERM came, and a checkpoint is written; or another process of the training has ended.
    """
    with name_lost_process(training.engine):
        _train(training)


def _train(training: Training) -> None:
    params, engine, worker = training.params, training.engine, training.engine.worker
    progress = _resume(training)
    throughput = Throughput(worker.device, worker.world_size, params.batch_size)
    read = read_batches(training.batches, range(progress.step, params.steps), worker)
    with await_stop() as stop, _make_progress_bar(training, progress.step) as bar, closing(read) as steps:
        for microbatches in steps:
            learning_rate = engine.learning_rate
            losses = throughput.watch(partial(_add_gradients, engine, microbatches))
            loss = float(
                sum(each / params.accumulation_steps for each in losses)
            )  # the one place of a step that waits for the device
            _require_finite(loss, progress.step, params)
            engine.step()  # clips, steps and zeroes the gradients
            average_weights(training.average, engine.objective, step=progress.step, decay=params.ema_decay)
            progress.step += 1
            progress.losses.append(loss)
            throughput.add_step()
            bar.update(params.batch_size)
            bar.set_postfix_str(f"step {progress.step}/{params.steps} loss {loss:.4f}", refresh=False)
            if progress.step % params.validate_every == 0 or progress.step == params.steps:
                _log_point(training, progress, learning_rate, throughput)
            if progress.step == params.steps:
                break
            is_last = is_stop_due(stop, engine, progress.step)
            if is_last or progress.step % params.checkpoint_every == 0:
                training.checkpoints.save(engine, progress.step, _collect_state(training, progress))
            if is_last:
                raise TrainingStopped(
                    f"told to stop at step {progress.step} of {params.steps}; run it again, and it goes on from there"
                )


def average_weights(average: nn.Module, network: nn.Module, *, step: int, decay: float) -> None:
    """Move the average towards the network's weights: an EMA, with a smaller decay at first to forget its start."""
    share = 1 - min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), share)


def _add_gradients(engine: Engine, microbatches: Sequence[Batch]) -> list[Tensor]:
    return [engine.add_gradients(batch) for batch in microbatches]


def _log_point(training: Training, progress: TrainingProgress, learning_rate: float, throughput: Throughput) -> None:
    """Measure the average network and add a point to the curve."""
    speed, measures = throughput.rows_per_second, throughput.list_metrics()
    loss = training.engine.average(sum(progress.losses) / len(progress.losses))
    progress.losses = []
    if training.engine.worker.is_main:
        measured = training.measure()
        point = CurvePoint(progress.step, loss, learning_rate=learning_rate, samples_per_second=speed, **measured)
        progress.points.append(point)
        write_curve(training.curve, progress.points)
        training.on_metrics(point.step, {**point.list_metrics(), **measures})
    throughput.restart()


def _collect_state(training: Training, progress: TrainingProgress) -> dict[str, Any]:
    """Collect what a checkpoint holds; all processes call it, as all go on with the losses of the first."""
    state = {**asdict(progress), "average": training.average.state_dict()}
    if progress.losses and training.engine.worker.world_size > 1:
        mean = training.engine.average(sum(progress.losses) / len(progress.losses))
        state["losses"] = [mean] * len(progress.losses)
    return state


def _resume(training: Training) -> TrainingProgress:
    state = training.checkpoints.load(training.engine)
    if state is None:
        return TrainingProgress(0, [], [])
    training.average.load_state_dict(state["average"])
    return TrainingProgress(state["step"], state["losses"], [CurvePoint(**point) for point in state["points"]])


def _require_finite(loss: float, step: int, params: TrainingParams) -> None:
    if not math.isfinite(loss):
        raise ParamsInvalid(
            f"the loss is {loss} at step {step}; lower learning_rate ({params.learning_rate:g}) or clip_norm "
            f"({params.clip_norm:g}), or lengthen warmup_steps ({params.warmup_steps}) in params.yaml"
        )


def _make_progress_bar(training: Training, steps_done: int) -> "tqdm[Any]":
    params = training.params
    return tqdm(
        total=params.steps * params.batch_size,
        initial=steps_done * params.batch_size,
        unit=" rows",
        unit_scale=True,
        disable=None if training.engine.worker.is_main else True,  # None: where stderr is no terminal
    )
