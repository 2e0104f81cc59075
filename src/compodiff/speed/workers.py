"""Embedding by two workers against one: processes of this machine, and actors of Ray where it is installed."""

import shutil
import time
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from compodiff.embeddings.set_pass import SetEmbedder, ShardTask
from compodiff.execution import EXECUTION, LOCAL, RAY, map_shards
from compodiff.execution.crew import WORKERS, give_out
from compodiff.execution.local import LocalWorker
from compodiff.params import EmbeddingParams
from compodiff.sets import open_set
from compodiff.speed.apart import run_apart
from compodiff.speed.figures import Figure
from compodiff.speed.synthetic import PICTURES_OF_A_SHARD, write_encoder, write_set

_LEAST, _LEAST_OF_LOCAL = 1.8, 0.9


def measure_workers(folder: Path, shards: int, params: EmbeddingParams) -> list[Figure]:
    """Measure shards a second of one process, of two, and of two actors; their start is not counted.

    Args:
        folder: for the set.
        shards: of the set; each has so many pictures that it takes about a second.
        params: of embedding.
    """
    rows = shards * PICTURES_OF_A_SHARD
    write_set(folder / "set", rows, rows_per_shard=PICTURES_OF_A_SHARD, pictures=PICTURES_OF_A_SHARD)
    write_encoder(folder / "encoder")
    ways = {"one": (LOCAL, 1), "two": (LOCAL, 2)} | ({"Ray": (RAY, 2)} if find_spec("ray") else {})
    speeds = {}
    for name, (engine, workers) in ways.items():
        home = folder / name  # the towers' outputs are remembered beside an encoder: each way has its own
        shutil.copytree(folder / "encoder", home / "encoder")
        environment = {EXECUTION: engine, WORKERS: str(workers), "OMP_NUM_THREADS": "1"}
        speeds[name] = run_apart(_embed, folder / "set", home, params, workers, environment=environment)
    figures = [
        Figure("embed by one process, rows a second", PICTURES_OF_A_SHARD * speeds["one"]),
        Figure("embed by two processes, times one", speeds["two"] / speeds["one"], least=_LEAST),
    ]
    if "Ray" in speeds:
        figures.append(
            Figure("embed by two of Ray's, of two processes", speeds["Ray"] / speeds["two"], least=_LEAST_OF_LOCAL)
        )
    return figures


def _embed(address: Path, home: Path, params: EmbeddingParams, workers: int) -> float:
    """Return shards a second while all workers are busy: from the first of each to the last but one of each."""
    embedder = SetEmbedder(str(address), home / "encoder", params)
    tasks = [ShardTask(shard, home / f"{shard.sha256}.npz") for shard in open_set(address).description.shards]
    if workers == 1:  # a process of its own as well, which `map_shards` would spare
        done = give_out(tasks, 1, lambda _: LocalWorker(embedder, None))
    else:
        done = map_shards(embedder, tasks, workers=workers, on_gpu=False)
    times = [time.perf_counter() for _ in done]
    busy = [*islice(times, workers - 1, len(times) - workers)]
    return (len(busy) - 1) / (busy[-1] - busy[0])
