"""A training that is told to stop by SIGTERM keeps a checkpoint first, and ends with the code that says: again.

So does one of several processes whose neighbour died: whoever started them starts them anew from the checkpoint.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed import DistError

from compodiff.errors import TrainingStopped
from compodiff.execution.stopping import StopRequest
from compodiff.training.engine import Engine

STEPS_BETWEEN_QUESTIONS = 10  # of several processes, which have to stop after the same step


def is_stop_due(request: StopRequest, engine: Engine, step: int) -> bool:
    """Return whether the training ends after `step`: the same answer in all of its processes."""
    if engine.worker.world_size == 1:
        return request.came
    return step % STEPS_BETWEEN_QUESTIONS == 0 and engine.average(float(request.came)) > 0


@contextmanager
def name_lost_process(engine: Engine) -> Iterator[None]:
    """Say in one line that another process of this training has ended.

    Raises:
        TrainingStopped: another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if engine.worker.world_size == 1 or not _is_of_connection(error):
            raise
        raise TrainingStopped(
            "another process of this training has ended; run it again, and it goes on from its last checkpoint"
        ) from error


def _is_of_connection(error: RuntimeError) -> bool:
    """Return whether two processes lost each other; Gloo says so by its text only."""
    return isinstance(error, DistError) or "gloo" in str(error)
