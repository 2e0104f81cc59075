"""`compodiff bench data`: what the data plane costs, each figure beside its limit; all in a temporary folder."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from compodiff.speed.figures import Figure
from compodiff.speed.loading import measure_training
from compodiff.speed.shards import measure_status
from compodiff.speed.stage_costs import TimedStages, measure_stages
from compodiff.speed.timing import describe_machine
from compodiff.speed.workers import measure_workers
from compodiff.storage.scratch import open_scratch


@dataclass(frozen=True)
class Sizes:
    """How much is made to be measured.

    Attributes:
        rows: of the set that stages run over.
        triplets: of the training.
        shards: of the set that DVC looks at.
        embedded: shards that workers embed.
    """

    rows: int
    triplets: int
    shards: int
    embedded: int = 24


MEASURES: dict[str, Callable[[Path, Sizes, TimedStages], list[Figure]]] = {
    "stages": lambda folder, sizes, stages: measure_stages(folder, sizes.rows, stages),
    "workers": lambda folder, sizes, stages: measure_workers(folder, sizes.embedded, stages.params.embedding),
    "training": lambda folder, sizes, stages: measure_training(folder, sizes.triplets, stages),
    "status": lambda folder, sizes, _: measure_status(folder, sizes.shards),
}


def run(sizes: Sizes, stages: TimedStages, only: Sequence[str] = ()) -> dict[str, Any]:
    """Measure.

    Args:
        sizes: how much.
        stages: what this room may not import.
        only: names of `MEASURES`; none: all.

    Returns:
        A JSON-able dict: machine, and rows with figure, measured value, limit and verdict.
    """
    figures: list[Figure] = []
    for name in only or MEASURES:
        with open_scratch(Path.cwd()) as folder:
            figures += MEASURES[name](folder, sizes, stages)
    machine = describe_machine() | {"processors": os.cpu_count(), "load": psutil.getloadavg()[0]}
    return {"machine": machine, "rows": [figure.to_row() for figure in figures]}
