"""Workers that are actors of Ray; nothing else imports it, and only where it is asked for."""

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.execution.crew import WorkerLost

GPUS = "COMPODIFF_GPUS"
_OBJECT_STORE = 128 * 2**20  # bytes; results are small, pictures go to shards
# Nothing here calls home, and an actor without a GPU sees none.
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}


class RayWorker:
    """An actor of Ray, which we replace ourselves: Ray cannot know that its item is to be given out again."""

    def __init__(self, function: Callable[[Any], Any], *, gpus: float) -> None:
        self._ray = connect()
        actor = self._ray.remote(_Applier).options(num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0)
        self._actor = actor.remote(function)

    def prepare(self) -> "Future[Any]":
        """Wait for its place in the cluster."""
        return self._wrap_reference(self._actor.__ray_ready__.remote())

    def submit(self, item: Any) -> "Future[Any]":
        """Call the function in it."""
        return self._wrap_reference(self._actor.apply.remote(item))

    def collect(self, future: "Future[Any]") -> Any:
        """Take what the call returned or raised; whatever else Ray reports, the actor is lost."""
        try:
            return future.result()
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise WorkerLost(type(error).__name__) from error

    def dismiss(self) -> None:
        """End it, so that two never write the same shard."""
        self._ray.kill(self._actor)

    def _wrap_reference(self, reference: Any) -> "Future[Any]":
        future: Future[Any] = reference.future()
        return future


class _Applier:
    """What an actor is made of."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def apply(self, item: Any) -> Any:
        return self._function(item)


def count_cpus() -> int:
    """Return how many workers Ray has room for now."""
    return max(1, int(connect().cluster_resources().get("CPU", 0)))


def count_gpus() -> int:
    """Return how many GPUs Ray has: COMPODIFF_GPUS where its nodes are still to come, or those that are there now.

    Raises:
        InputInvalid: COMPODIFF_GPUS is no number.
    """
    told = os.environ.get(GPUS)
    if told is not None and not told.isdecimal():
        raise InputInvalid(f"{GPUS} is {told!r}; set it to how many GPUs the cluster will have")
    return int(told) if told is not None else int(connect().cluster_resources().get("GPU", 0))


def connect() -> Any:
    """Connect Ray to RAY_ADDRESS, or to a cluster of its own here, until this process ends; return its module."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ResourceUnavailable("Ray is not installed; run: pip install 'compodiff[ray]'") from error
    if ray.is_initialized():
        return ray
    address = os.environ.get("RAY_ADDRESS")
    own: dict[str, Any] = {"object_store_memory": _OBJECT_STORE, "include_dashboard": False}
    try:
        ray.init(address or "local", logging_level=logging.WARNING, **({} if address else own))
    except (ConnectionError, RuntimeError, TimeoutError) as error:
        reason = str(error).partition("\n")[0]
        raise ResourceUnavailable(f"no Ray answers at RAY_ADDRESS={address} ({reason}); see: ray status") from error
    return ray
