"""Imports run inwards, each outside system has its one module (pyproject.toml, importlinter), and a breach is found."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
    return subprocess.run(
        [program, "--no-cache"], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


def test_imports_run_inwards() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("compodiff/errors.py", "import compodiff.params", "Imports run inwards"),
        ("compodiff/training/loop.py", "import compodiff.index.index", "Imports run inwards"),
        ("compodiff/params/section.py", "import flows.tasks", "Flows stand on top"),
        ("compodiff/stages/evaluate.py", "import mlflow", "MLflow: only tracking and serving.mlflow_model"),
        ("compodiff/training/loop.py", "import deepspeed", "DeepSpeed: only training.engine"),
        ("compodiff/execution/crew.py", "import prefect", "Prefect: only flows"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, module: str, line: str, contract: str) -> None:
    for part in ("src", "flows"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "src" / module
    file.write_text(f"{file.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    result = lint(tmp_path)
    assert result.returncode == 1
    assert f"{contract} BROKEN" in result.stdout
