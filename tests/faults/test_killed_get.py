"""`compodiff get` that is killed again and again: what has arrived stays, and the whole file comes."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from worlds.hub import LoopbackHub

MEGABYTE = 10**6


@pytest.mark.parametrize("megabytes", [45, pytest.param(200, marks=pytest.mark.slow)])
def test_a_fetch_that_is_killed_three_times_goes_on(tmp_path: Path, megabytes: int) -> None:
    content = os.urandom(megabytes * MEGABYTE)
    digest = hashlib.sha256(content).hexdigest()
    command = [sys.executable, "-m", "compodiff.cli", "get", "org/large"]
    with LoopbackHub() as hub:
        hub.add("org/large", {"config.json": b"{}", "model.safetensors": content})
        hub.faults.bytes_per_second = 30 * MEGABYTE
        environment = os.environ | hub.make_environment(tmp_path)
        unfinished = tmp_path / "hub/models--org--large/blobs" / f"{digest}.compodiff-partial"
        sizes = [0]
        for _ in range(3):
            fetching = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            wait_for_growth(unfinished, sizes[-1])
            fetching.kill()
            fetching.wait()
            sizes.append(unfinished.stat().st_size)
        hub.faults.bytes_per_second = None
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        firsts = [each.first for each in hub.asked if each.method == "GET" and each.path.startswith("/large/")]
    assert firsts == sizes
    assert sorted({*sizes}) == sizes
    folder = Path(done.stdout.splitlines()[-1].removeprefix("org/large is here: "))
    with (folder / "model.safetensors").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest
    assert not unfinished.exists()


def wait_for_growth(path: Path, size: int) -> None:
    """Wait until a file has more bytes."""
    for _ in range(6000):
        if path.exists() and path.stat().st_size > size:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not grow in a minute")
