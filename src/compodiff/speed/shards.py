"""`dvc status` of a project whose set has very many shards."""

import os
import subprocess
import sys
import time
from pathlib import Path

from compodiff.speed.figures import Figure

_MEANT = 100_000  # shards
_MOST_SECONDS = 10
_NOTHING_BESIDE = {"DVC_NO_ANALYTICS": "1", "CI": "true"}  # no process of DVC's that reports, or looks for a newer one
# As dvc.yaml has it: one stage makes the set, two more read it.
_PIPELINE = """
stages:
  make_set:
    cmd: "true"
    outs:
      - artifacts/sets/wide: {persist: true}
  embed:
    cmd: "true"
    deps: [artifacts/sets/wide]
  validate:
    cmd: "true"
    deps: [artifacts/sets/wide]
"""


def measure_status(folder: Path, shards: int) -> list[Figure]:
    """Measure `dvc status` of a set of `shards` shards, of which nothing has changed since it was committed."""
    wide = folder / "artifacts" / "sets" / "wide"
    wide.mkdir(parents=True)
    for number in range(shards):
        (wide / f"train-{number:06d}.parquet").write_text(f"{number}")
    (folder / "dvc.yaml").write_text(_PIPELINE)
    _dvc(folder, "init", "--no-scm", "--quiet")
    _dvc(folder, "commit", "--force", "--quiet")
    began, worked = time.perf_counter(), _count_processor_seconds()
    said = _dvc(folder, "status")
    seconds, worked = time.perf_counter() - began, _count_processor_seconds() - worked
    if "up to date" not in said:
        raise AssertionError(f"dvc status says {said}")
    at = "" if shards == _MEANT else f"at {_MEANT:,}"
    return [
        Figure(f"dvc status with {shards:,} shards, seconds", seconds, most=_MOST_SECONDS, at=at),
        Figure("the same, processor seconds", worked),
    ]


def _count_processor_seconds() -> float:
    """Return for how long the processes that this one started, and that have ended, worked."""
    times = os.times()
    return times.children_user + times.children_system


def _dvc(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    variables = os.environ | _NOTHING_BESIDE
    return subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True, text=True).stdout
