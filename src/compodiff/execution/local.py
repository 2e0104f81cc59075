"""Workers that are processes of this machine."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from compodiff.execution.crew import WorkerLost

DEVICES = Path("/dev")


class LocalWorker:
    """A process of this machine: a pool of one, so that it is known which item a killed process was at."""

    def __init__(self, function: Callable[[Any], Any], gpu: str | None) -> None:
        # Not fork: PyTorch's and Arrow's threads do not survive it.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_start, initargs=(gpu,))
        self._function = function

    def prepare(self) -> "Future[Any]":
        """Start the process and send it the function."""
        # The function travels after the process has started: what it imports finds the environment that `_start` sets.
        return self._pool.submit(_keep, self._function)

    def submit(self, item: Any) -> "Future[Any]":
        """Call the function in it."""
        return self._pool.submit(_apply, item)

    def collect(self, future: "Future[Any]") -> Any:
        """Take what the call returned or raised; a killed process is a lost worker."""
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise WorkerLost("its process was killed") from error

    def dismiss(self) -> None:
        """Let it end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def list_visible_gpus() -> list[str]:
    """Return the names by which CUDA_VISIBLE_DEVICES lets a process see one GPU each; none where torch can use none."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        names = [name for name in told.split(",") if name.strip() not in ("", "-1")]
    else:
        names = [str(number) for number, _ in enumerate(DEVICES.glob("nvidia[0-9]*"))]
    if names:
        from compodiff.precision import explain_missing_gpu  # imports torch, which takes seconds

        return names if explain_missing_gpu() is None else []
    return names


_function: Callable[[Any], Any]  # of a worker process, set once when it starts


def _start(gpu: str | None) -> None:
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores; read when torch is imported
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _keep(function: Callable[[Any], Any]) -> None:
    global _function  # noqa: PLW0603 - the pool has no other place for what a worker keeps between items
    _function = function


def _apply(item: Any) -> Any:
    return _function(item)


def _end_with_parent() -> None:
    """End this worker with its parent: one that is killed cannot stop its workers, which would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
