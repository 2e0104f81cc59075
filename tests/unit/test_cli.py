import os
import subprocess
import sys
from pathlib import Path

import pytest

from compodiff.cli.project import project_root
from compodiff.errors import InputInvalid

COMPODIFF = Path(sys.executable).with_name("compodiff")


def _run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMPODIFF, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_help_answers_in_half_a_second(tmp_path):
    times = []
    for _ in range(3):
        start = os.times()
        result = _run("--help", cwd=tmp_path)
        end = os.times()
        # CPU seconds of the child: the wall clock also counts what else the machine does.
        times.append(end.children_user + end.children_system - start.children_user - start.children_system)
        assert result.returncode == 0
    assert min(times) < 0.5


def test_an_unknown_stage_is_one_line_and_an_exit_code(tmp_path):
    (tmp_path / "params.yaml").touch()
    result = _run("run", "trian_prior", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("compodiff: there is no stage 'trian_prior'; the stages are: ")
    assert result.stderr.count("\n") == 1


def test_outside_a_project_the_way_out_is_named(tmp_path):
    with pytest.raises(InputInvalid, match=r"no params\.yaml in .* or above"):
        project_root(tmp_path)


def test_the_project_is_found_from_a_folder_below(tmp_path):
    (tmp_path / "params.yaml").touch()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert project_root(below) == tmp_path.resolve()
