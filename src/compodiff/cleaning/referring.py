"""Write a set anew, shard by shard, with the same pictures where they lie."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from tqdm import tqdm

from compodiff.cleaning.survey import ENDS
from compodiff.execution import count_workers, map_shards
from compodiff.sets import SPLITS, Place, Shard, TrainingSet
from compodiff.sets.addresses import is_address, join_address
from compodiff.sets.writing import is_shard_done, shard_path


@dataclass(frozen=True)
class ShardTask:
    """A shard of a set, and the one that it becomes.

    Attributes:
        shard: of the set.
        number: of the new shard in its split.
        first: number of the shard's first row in the set.
    """

    shard: Shard
    number: int
    first: int


def list_tasks(shards: Sequence[Shard], to: Path) -> list[ShardTask]:
    """Return the shards of a set that are not yet written in the folder `to`."""
    starts = [*accumulate((shard.rows for shard in shards), initial=0)]
    numbers = dict.fromkeys(SPLITS, 0)
    tasks = []
    for shard, first in zip(shards, starts, strict=False):
        task = ShardTask(shard, numbers[shard.split], first)
        numbers[shard.split] += 1
        if not is_shard_done(shard_path(to, shard.split, task.number)):
            tasks.append(task)
    return tasks


def refer(row: dict[str, Any], opened: TrainingSet, to: Path) -> dict[str, Any]:
    """Return the pictures of a row as a set in the folder `to` names them: a relative path counts from there."""
    moved: dict[str, Any] = {end: _see(row[end], opened.address, to) for end in ENDS[opened.description.kind]}
    if row.get("negatives"):
        moved["negatives"] = [_see(place, opened.address, to) for place in row["negatives"]]
    return moved


def run(function: Callable[[Any], object], items: Sequence[Any], what: str) -> None:
    """Map a function over shards, and show how far it is."""
    for _ in tqdm(map_shards(function, items, workers=count_workers()), what, len(items), unit=" shards", disable=None):
        pass


def _see(place: dict[str, Any], address: str, to: Path) -> Place:
    it = Place.of(place)
    if is_address(it.file) or os.path.isabs(it.file):
        return it
    where = join_address(address, it.file)
    return replace(it, file=where if is_address(where) else os.path.relpath(where, to))
