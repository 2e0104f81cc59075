"""A disk that is really full: a file system of a few kilobytes."""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from compodiff.errors import ResourceUnavailable
from compodiff.storage.shards import is_done, open_shard_writer, read_entries
from compodiff.tracking.outbox import Heading, Journal, open_journal


def write(path: Path, entries: int) -> None:
    noise = np.random.default_rng(1)
    with open_shard_writer(path) as shard:
        for number in range(entries):
            shard.add(f"{number:04}", {"target.png": noise.bytes(8192)})
        shard.record(pd.DataFrame({"key": [f"{number:04}" for number in range(entries)]}))


def test_a_disk_that_fills_up_while_a_shard_is_written_leaves_the_shards_before_it_and_no_half_one(disk: Path) -> None:
    write(disk / "train-00000.tar", 8)
    with pytest.raises(ResourceUnavailable, match=r"no space left on the disk while writing .*train-00001.tar"):
        write(disk / "train-00001.tar", 64)
    assert sorted(path.name for path in disk.iterdir()) == ["train-00000.parquet", "train-00000.tar"]
    assert is_done(disk / "train-00000.tar")
    assert len(list(read_entries(disk / "train-00000.tar"))) == 8
    subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
    write(disk / "train-00001.tar", 64)
    assert len(list(read_entries(disk / "train-00001.tar"))) == 64


def test_a_disk_that_fills_up_under_a_runs_journal_is_named(disk: Path) -> None:
    journal = open_journal(disk, Heading("train_prior", 0, {}, {}))
    with pytest.raises(ResourceUnavailable, match="cannot be written"):
        fill(journal)
    journal.close()


def fill(journal: Journal) -> None:
    for step in range(10000):
        journal.add(step=step, metrics={"loss": float(step)})
