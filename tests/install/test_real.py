"""The installation as it is, from nothing, with the pinned packages; the tests beside it stand in for pip."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_clone_installs_itself_and_its_command_answers(tmp_path: Path) -> None:
    clone = tmp_path / "compodiff"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, clone], check=True)
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        ["make", ".venv/.installed"], cwd=clone, env=outside, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    doctor = subprocess.run(["make", "doctor"], cwd=clone, env=outside, capture_output=True, text=True, check=False)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    asked = [clone / ".venv" / "bin" / "compodiff", "--version"]
    assert subprocess.run(asked, cwd=clone, env=outside, capture_output=True, text=True, check=True).stdout
