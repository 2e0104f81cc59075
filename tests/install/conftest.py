"""A copy of what the installation reads, in a folder whose name a shell would split and ASCII does not hold."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from worlds.installing import ROOT, Make

NEEDED = ("Makefile", "pyproject.toml", "constraints.txt", "infra", "flows", "src")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without an installation, and with git's folder."""
    folder = tmp_path / "my tür project"
    (folder / ".git").mkdir(parents=True)
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The only folder of commands that `make` is given: the usual tools, but neither a Python nor uv."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "sh", "uname", "git", "make", "apt-get"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def make(project: Path, path: Path) -> Make:
    """Run `make ARGUMENTS` in the project."""

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        given = {"PATH": str(path), "HOME": os.environ["HOME"], "PYTHONPATH": str(project / "src"), **environment}
        command = ["make", *arguments]
        return subprocess.run(command, cwd=project, env=given, capture_output=True, text=True, check=False, timeout=300)

    return run
