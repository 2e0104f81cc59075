"""DeepSpeed, and nothing else knows it: one process or torchrun's many, on the CPU (gloo) or on GPUs (NCCL).

    engine = Engine(objective, params, join_workers())
    engine.add_gradients(batch)  # once a microbatch
    engine.step()                   # averages over processes, clips, steps, clears the gradients

Its configuration is made from params.yaml; there is no ds_config.json.
"""

import atexit
import logging
import math
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import HashStore  # type: ignore[attr-defined]  # public, but not in torch's __all__

from compodiff.errors import ParamsInvalid
from compodiff.model.network.linears import Linear
from compodiff.params import TrainingParams
from compodiff.precision import choose_precision
from compodiff.training.batch import Batch

Told = TypeVar("Told")

# Modules of which ZeRO sends gradients in the precision of their products. DeepSpeed asks for the exact class.
_SENT_IN_BFLOAT16 = ["torch.nn.Linear", f"{Linear.__module__}.{Linear.__qualname__}"]
# Numbers in what processes exchange at a time: a sixth of the paper's network, so that the first go while the backward
# pass computes the others; DeepSpeed's 500 million would send all of them after it.
_BUCKET = 25_000_000


@dataclass(frozen=True)
class TrainingProcess:
    """This process among those that train together."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files, logs and draws the progress bar."""
        return self.rank == 0


def join_workers() -> TrainingProcess:
    """Join torchrun's processes, or be the only one (which opens no port); they part when the interpreter ends.

    DeepSpeed keeps the first group for good, so a second training in one process trains in the same.
    """
    local_rank = int(os.environ.setdefault("LOCAL_RANK", "0"))  # DeepSpeed insists on the variable
    device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        if "WORLD_SIZE" in os.environ:
            dist.init_process_group(backend)
        else:
            dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
        atexit.register(dist.destroy_process_group)
    return TrainingProcess(dist.get_rank(), dist.get_world_size(), device)


class Engine:
    """An objective under DeepSpeed: AdamW, warm-up, clipping, precision and ZeRO as params.yaml says."""

    def __init__(self, objective: nn.Module, params: TrainingParams, worker: TrainingProcess) -> None:
        """Hand `objective` (a batch -> its loss) to DeepSpeed.

        Raises:
            ParamsInvalid: the batch does not divide among processes and accumulation steps.
        """
        self.worker = worker
        self.objective = objective.to(worker.device)
        optimizer = torch.optim.AdamW(
            group_parameters(objective, params.weight_decay), lr=params.learning_rate, betas=(0.9, 0.999), fused=True
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: compute_learning_rate_factor(step, params))
        self._deepspeed, *_ = _import_deepspeed(worker.device).initialize(
            model=objective,
            optimizer=optimizer,
            lr_scheduler=schedule,
            config=make_deepspeed_config(params, divide_batch(params, worker.world_size), worker.device),
        )

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._deepspeed.get_lr()[0])

    def add_gradients(self, batch: Batch) -> Tensor:
        """Add the gradients of a microbatch on the device and return its loss, which stays there: a float64 scalar.

        Nobody waits for the device here. A loss that is not finite leaves gradients that no `step` may take.
        """
        loss: Tensor = self._deepspeed(batch)
        self._deepspeed.backward(loss)
        return loss.detach().double()

    def step(self) -> None:
        """Average gradients over processes, clip them, take AdamW's step and clear them; their loss is finite."""
        self._deepspeed.step()

    def average(self, value: float) -> float:
        """Return the mean of `value` over all processes."""
        total = torch.tensor(value, dtype=torch.float64, device=self.worker.device)
        dist.all_reduce(total)
        return float(total) / self.worker.world_size

    def wait_for_all(self) -> None:
        """Go on when all processes are here."""
        dist.barrier()

    def tell_all(self, value: Told) -> Told:
        """Return the main process's `value` in all processes, which call it together."""
        told = [value]
        dist.broadcast_object_list(told, src=0, device=self.worker.device)
        return told[0]

    def save(self, folder: Path, tag: str, state: dict[str, Any]) -> None:
        """Write weights, optimizer, learning-rate schedule and `state` into `folder`/`tag`; all processes call it."""
        self._deepspeed.save_checkpoint(str(folder), tag, client_state={"training": state}, save_latest=False)
        self.wait_for_all()

    def load(self, folder: Path, tag: str) -> dict[str, Any]:
        """Restore what `save` wrote and return its `state`; a checkpoint that holds anything but data is an error."""
        with _read_data_only():
            _, client_state = self._deepspeed.load_checkpoint(str(folder), tag)
        state: dict[str, Any] = client_state["training"]
        return state


@contextmanager
def _read_data_only() -> Iterator[None]:
    """Let DeepSpeed, which would unpickle anything, read tensors, plain values and its own records alone."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"  # wins over the weights_only=False that DeepSpeed passes
    try:
        with torch.serialization.safe_globals([LossScaler, ZeroStageEnum, fragment_address]):
            yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def divide_batch(params: TrainingParams, world_size: int) -> int:
    """Return the rows of one process's microbatch.

    Raises:
        ParamsInvalid: the batch does not divide among processes and accumulation steps.
    """
    parts = world_size * params.accumulation_steps
    if params.batch_size % parts:
        raise ParamsInvalid(
            f"batch_size {params.batch_size} does not divide among {world_size} processes x "
            f"{params.accumulation_steps} accumulation_steps; make it a multiple of {parts}"
        )
    return params.batch_size // parts


def group_parameters(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices; leave gains, biases and other vectors alone."""
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def compute_learning_rate_factor(step: int, params: TrainingParams) -> float:
    """Compute the factor of the learning rate at `step`: a linear warm-up, then a cosine to 0 or a constant."""
    if step < params.warmup_steps:
        return (step + 1) / params.warmup_steps
    if params.learning_rate_schedule == "constant":
        return 1.0
    progress = (step - params.warmup_steps) / max(1, params.steps - params.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def make_deepspeed_config(params: TrainingParams, rows: int, device: torch.device) -> dict[str, Any]:
    """Make DeepSpeed's settings for microbatches of `rows` rows on `device`."""
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": rows,
        "gradient_accumulation_steps": params.accumulation_steps,
        "managed_gradient_accumulation": False,  # `step` is the boundary, not a count of microbatches
        "gradient_clipping": params.clip_norm,
        "zero_optimization": {"stage": params.zero_stage},
        "zero_allow_untested_optimizer": True,  # torch's fused AdamW: DeepSpeed's own would be compiled first
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }
    if choose_precision(params.precision, device) == "bfloat16":
        config["torch_autocast"] = {
            "enabled": True,
            "dtype": "bfloat16",
            "lower_precision_safe_modules": _SENT_IN_BFLOAT16,
        }
    if device.type == "cuda" and params.zero_stage > 0:
        config["zero_optimization"] |= {
            "overlap_comm": params.zero_stage == 2,  # of gradients, with the backward pass; below 2 there is none
            "reduce_bucket_size": _BUCKET,
            "allgather_bucket_size": _BUCKET,
        }
    return config


def _import_deepspeed(device: torch.device) -> Any:
    """Import DeepSpeed without a compiler: on the CPU it would build a shared-memory op first, and gloo serves."""
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed
    import deepspeed.ops
    from deepspeed.utils import logger

    if device.type == "cpu":
        deepspeed.ops.__compatible_ops__ = defaultdict(bool)
    logger.setLevel(logging.WARNING)
    return deepspeed
