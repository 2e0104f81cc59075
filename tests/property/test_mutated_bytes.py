"""Every parser of foreign bytes, fed examples that were changed at random: it ends in a value or an error of ours.

What once failed is stored in mutated/PARSER, as FILE~DIGEST, and read at each run of the tests. To look for more, for
minutes: `pytest -m slow tests/property/test_mutated_bytes.py`, or `python -m worlds.fuzzing` in tests/.
"""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from worlds.foreign_parsers import PARSERS
from worlds.fuzzing import OUT, Parser, mutate, replay
from worlds.operated import environment

from compodiff.errors import InputInvalid

TESTS = Path(__file__).parents[1]
STORED = sorted(Path(__file__).with_name("mutated").glob("*/*~*"))
SECONDS = 20


@pytest.mark.parametrize("stored", STORED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_once_failed_is_read_or_refused(stored: Path, tmp_path: Path, one_process: None) -> None:
    assert replay(PARSERS[stored.parent.name], stored, tmp_path / "read" / "given") == ""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PARSERS)
def test_changed_examples_are_read_or_refused(name: str, tmp_path: Path) -> None:
    settings = environment(tmp_path, PYTHONPATH=f"{TESTS.parent / 'src'}:{TESTS}", COMPODIFF_WORKERS="1")
    seed = random.SystemRandom().randrange(10**6)
    command = [sys.executable, "-m", "worlds.fuzzing", name, str(SECONDS), str(seed), str(tmp_path / "found")]
    done = subprocess.run(command, cwd=TESTS, env=settings, capture_output=True, text=True, check=False)
    faults = [path.read_text() for path in sorted((tmp_path / "found").glob("*.txt"))]
    kept = [path.name for path in (tmp_path / "found").glob("*~*")]
    assert not faults, f"seed {seed}, {kept}: {faults[0]}"
    assert done.returncode == 0, f"seed {seed}, {kept}: {done.returncode} {done.stderr[-2000:]}"
    assert int(done.stdout.split()[-1]) > 0


def test_faults_are_found(tmp_path: Path) -> None:
    """Else the tests above could not fail."""

    def make(folder: Path) -> None:
        (folder / "a").write_bytes(b"an example")

    def raise_foreign(folder: Path) -> None:
        raise ValueError(folder)

    def write_outside(folder: Path) -> None:
        (folder / OUT).write_text("allowed")
        (folder.parent / "letter").write_text("dear")

    def refuse(folder: Path) -> None:
        raise InputInvalid("a line")

    stored = tmp_path / "a~0"
    stored.write_bytes(b"another")
    for number, (read, said) in enumerate(
        ((raise_foreign, "ValueError"), (write_outside, "written outside"), (refuse, ""))
    ):
        fault = replay(Parser(make, read), stored, tmp_path / str(number) / "given")
        assert said in fault
        assert bool(said) == bool(fault)


def test_changes_are_those_of_the_seed() -> None:
    changed = [mutate(bytes(100), b"other", random.Random(seed)) for seed in (1, 1, 2)]
    assert changed[0] == changed[1] != changed[2]
