"""`compodiff bench data`: memory and seconds of the stages over a set, and the loader, each beside its limit.

Everything is made in a temporary folder: a set whose few pictures repeat, so that rows are what costs, and, for the
start of a training and for the loader, arrays in which every triplet has a picture of its own. Each figure is taken in
a process of its own. Memory is what that process keeps for itself; files that are mapped are not in it.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil

from compodiff.embeddings import embed_set
from compodiff.model.sampling.process import Process
from compodiff.params import OwnSetParams, Params, SimilarityFloors, TaskShares, TrainingParams
from compodiff.speed.synthetic import ASKING, ROWS_PER_SHARD, SET, WIDE, write_encoder, write_set, write_wide_arrays
from compodiff.speed.timing import describe_machine
from compodiff.training.batches import Batches
from compodiff.training.curve import CurveQueries
from compodiff.training.mixture import CURVE, load_mixture

BATCH, STEPS = 2048, 10
MEGABYTE = 2**20
_ROWS_PER_TEXT = 8  # that cleaning compares with each other
_EVERY = 0.005  # seconds between two looks at the memory
Figures = dict[str, float]


@dataclass(frozen=True)
class TimedStages:
    """The stages that are measured, which this room may not import.

    Attributes:
        validate, mix: as compodiff.stages has them.
        clean: writes a clean copy of a set: its folder, the set's, the encoder's.
        params: of a project; sets and tasks are replaced.
    """

    validate: Callable[..., None]
    mix: Callable[..., None]
    clean: Callable[[Path, Path, Path], object]
    params: Params


def run(rows: int, stages: TimedStages) -> dict[str, Any]:
    """Measure a set of `rows` rows, and one of a tenth, but of two whole shards at least, so that growth shows.

    Returns:
        A JSON-able dict: machine, and rows with figure, measured value, and limit.
    """
    sizes = (max(2 * ROWS_PER_SHARD, rows // 10), rows)
    works = {"clean": _clean, "embed": _embed, "validate": _validate, "re-judge": _judge_again, "mix": _mix}
    found: dict[tuple[str, int], Figures] = {}
    with tempfile.TemporaryDirectory(prefix="compodiff-bench-") as folder:
        for size in sizes:
            home = Path(folder, str(size))
            (home / "benchmarks").mkdir(parents=True)
            _run_apart(_write_inputs, home, size)
            for name, work in works.items():
                found[name, size] = _run_apart(_measure, home, work, stages)
        home = Path(folder, "wide")
        write_wide_arrays(home, rows)
        start, load = (_run_apart(_measure, home, work, stages) for work in (_start_training, _load_batches))
    return {"machine": describe_machine(), "rows": [*_list_stages(found, sizes), *_list_training(start, load, rows)]}


def _list_stages(found: dict[tuple[str, int], Figures], sizes: tuple[int, int]) -> list[dict[str, Any]]:
    less, more = sizes
    listed: list[dict[str, Any]] = []
    for name in ("clean", "embed", "validate", "mix"):
        growth = found[name, more]["megabytes"] - found[name, less]["megabytes"]
        listed += [
            {"figure": f"{name} {more:,} rows, seconds", "measured": found[name, more]["seconds"], "limit": "none"},
            {"figure": f"{name}, MB more than at {less:,} rows", "measured": growth, "limit": "at most 200"},
        ]
    again = found["re-judge", more]["seconds"] * 1e6 / more
    listed.append({"figure": "re-judge 10^6 rows at another floor, seconds", "measured": again, "limit": "below 60"})
    return listed


def _list_training(start: Figures, load: Figures, rows: int) -> list[dict[str, Any]]:
    at = f"start of training at {rows:,} triplets"
    return [
        {"figure": f"{at}, seconds", "measured": start["seconds"], "limit": "below 10 at 10^7"},
        {"figure": f"{at}, MB", "measured": start["megabytes"], "limit": "below 1000 at 10^7"},
        {
            "figure": f"loader at batch {BATCH:,}, rows a second",
            "measured": BATCH * STEPS / load["seconds"],
            "limit": "at least 20000 on two cores",
        },
    ]


def _run_apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _measure(home: Path, work: Callable[[Path, TimedStages], Callable[[], object]], stages: TimedStages) -> Figures:
    """Return the seconds that some work takes, and by how many megabytes this process grows meanwhile at most."""
    os.environ["COMPODIFF_WORKERS"] = "1"
    prepared = work(home, stages)
    process, peak, is_done = psutil.Process(), [0], threading.Event()

    def look() -> int:
        used = process.memory_info()
        return int(used.rss - getattr(used, "shared", 0))

    def watch() -> None:
        while not is_done.wait(_EVERY):
            peak[0] = max(peak[0], look())

    before = look()
    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        prepared()
    finally:
        seconds = time.perf_counter() - began
        is_done.set()
        watcher.join()
    return {"seconds": seconds, "megabytes": max(0, max(peak[0], look()) - before) / MEGABYTE}


def _write_inputs(home: Path, rows: int) -> None:
    write_encoder(home / "encoder")
    write_set(home / "sets" / SET, rows)
    write_set(home / "sets" / ASKING, rows, _ROWS_PER_TEXT)


def _clean(home: Path, stages: TimedStages) -> Callable[[], object]:
    return lambda: stages.clean(home / "clean", home / "sets" / ASKING, home / "encoder")


def _embed(home: Path, stages: TimedStages) -> Callable[[], object]:
    def work() -> None:
        embed_set(home / "embeddings" / SET, home / "sets" / SET, home / "encoder", stages.params.embedding)

    return work


def _validate(home: Path, stages: TimedStages, floor: float = -1.0) -> Callable[[], object]:
    floors = dict.fromkeys(SimilarityFloors.model_fields, -1.0) | {"image_image": floor}
    own = OwnSetParams.model_validate({"recipe": "own", "reads": "set.json", "min_rows": 1, "floors": floors})
    validation = stages.params.validation.model_copy(update={"max_rejected_fraction": 0.9})

    def work() -> None:
        stages.validate(
            params=own,
            validation=validation,
            folder=home / "sets" / SET,
            embeddings=home / "embeddings" / SET,
            benchmarks=home / "benchmarks",
            validated=home / "validation" / SET,
        )

    return work


def _judge_again(home: Path, stages: TimedStages) -> Callable[[], object]:
    _validate(home, stages)()  # loads the code, which takes seconds and does not grow with the rows
    return _validate(home, stages, floor=-0.9)


def _mix(home: Path, stages: TimedStages) -> Callable[[], object]:
    def work() -> None:
        stages.mix(
            params=_describe_training(stages.params.composed, SET),
            embeddings=home / "embeddings",
            validated=home / "validation",
            benchmarks=home / "benchmarks",
            benchmark_embeddings=home / "benchmarks",
            encoder=home / "encoder",
            folder=home / "mixture",
        )

    return work


def _describe_training(composed: TrainingParams, name: str) -> TrainingParams:
    """Stage 2 of the params over one set, at the batch size that is measured."""
    tasks = TaskShares(text_to_image={name: 0.3}, masked={name: 0.3}, triplet={name: 0.4})
    curve = composed.curve.model_copy(update={"set": name, "benchmark": None})
    return composed.model_copy(update={"tasks": tasks, "curve": curve, "batch_size": BATCH, "accumulation_steps": 1})


def _open_training(home: Path, stages: TimedStages) -> Batches:
    """Do what a rank does before its first step."""
    mixture = load_mixture(home / "mixture", home / "embeddings", home / "validation")
    CurveQueries.load(home / "mixture" / CURVE)
    params = _describe_training(stages.params.composed, WIDE)
    return Batches(mixture, params, Process(params.objective, stages.params.denoiser.num_train_timesteps))


def _start_training(home: Path, stages: TimedStages) -> Callable[[], object]:
    return lambda: _open_training(home, stages)


def _load_batches(home: Path, stages: TimedStages) -> Callable[[], object]:
    batches = _open_training(home, stages)
    batches.make_microbatches(0, rank=0, world_size=1)

    def work() -> None:
        for step in range(STEPS):
            batches.make_microbatches(step, rank=0, world_size=1)

    return work
