"""Batches of the steps to come; for a GPU they are read and copied there while the present step computes."""

from collections.abc import Generator

import torch

from compodiff.execution.prefetch import map_ahead
from compodiff.training.batch import Batch
from compodiff.training.batches import Batches
from compodiff.training.engine import TrainingProcess


def read_batches(batches: Batches, steps: range, worker: TrainingProcess) -> Generator[list[Batch], None, None]:
    """Yield the microbatches of each step on the device of `worker`.

    For a GPU those of the next steps are made meanwhile, in threads. A processor reads in turn: a thread beside its
    own would take a core from each product. Nothing beyond the last step is read, and an error comes with the step
    whose batches it spoils.
    """

    def read(step: int) -> list[Batch]:
        return batches.make_microbatches(step, rank=worker.rank, world_size=worker.world_size)

    if worker.device.type != "cuda":
        yield from map(read, steps)
        return
    stream = torch.cuda.Stream(worker.device)  # type: ignore[no-untyped-call]

    def deliver(step: int) -> list[Batch]:
        # A thread starts on the first GPU and its default stream, where copies would wait for the present step.
        with torch.cuda.device(worker.device), torch.cuda.stream(stream):
            delivered = [batch.pin_memory().to(worker.device) for batch in read(step)]
            stream.synchronize()  # blocks this thread alone
        return delivered

    for microbatches in map_ahead(deliver, steps, threads=batches.readers):
        for batch in microbatches:
            batch.keep_for(torch.cuda.current_stream(worker.device))
        yield microbatches
