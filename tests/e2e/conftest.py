"""The settings of flows/ stand before any test here imports Prefect; the command line runs in a small project."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import flows  # noqa: F401
from compodiff.cli import main


@pytest.fixture
def project(search_project) -> Path:
    return search_project


@pytest.fixture
def compodiff(project, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in the project, in this process; return (exit code, stdout, stderr)."""
    monkeypatch.chdir(project)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["compodiff", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run
