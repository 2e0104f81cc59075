"""A disk that is really full: a file system of a few kilobytes."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from compodiff.errors import ResourceUnavailable
from compodiff.sets import PAIRS, finish_set, is_shard_done, open_shard
from compodiff.tracking.outbox import Heading, Journal, open_journal


def write(folder: Path, number: int, rows: int) -> None:
    noise = np.random.default_rng(1)
    with open_shard(folder, "train", number, PAIRS) as shard:
        for row in range(rows):
            place = shard.store_picture(f"{row}", noise.bytes(8192))
            shard.add({"key": f"{row:04}", "picture": place, "texts": ["a picture"]})


def test_a_disk_that_fills_up_while_a_shard_is_written_leaves_the_shards_before_it_and_no_half_one(disk: Path) -> None:
    write(disk, 0, 8)
    with pytest.raises(ResourceUnavailable, match=r"no space left on the disk while writing .*train-00001"):
        write(disk, 1, 64)
    assert sorted(path.name for path in disk.iterdir()) == ["train-00000.parquet", "train-00000.tar"]
    assert is_shard_done(disk / "train-00000.parquet")
    subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
    write(disk, 1, 64)
    assert finish_set(disk, PAIRS, licence="", source="").rows == {"train": 72, "validation": 0}


def test_a_disk_that_fills_up_under_a_runs_journal_is_named(disk: Path) -> None:
    journal = open_journal(disk, Heading("train_prior", 0, {}, {}))
    with pytest.raises(ResourceUnavailable, match="cannot be written"):
        fill(journal)
    journal.close()


def fill(journal: Journal) -> None:
    for step in range(10000):
        journal.add(step=step, metrics={"loss": float(step)})
