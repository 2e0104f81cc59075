"""The settings of flows/ stand before any test here imports Prefect; the command line runs in a small project."""

from collections.abc import Callable
from pathlib import Path

import pytest
from worlds.command import make_shell

import flows  # noqa: F401


@pytest.fixture
def project(search_project) -> Path:
    return search_project


@pytest.fixture
def compodiff(project, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in the project, in this process; return (exit code, stdout, stderr)."""
    monkeypatch.chdir(project)
    return make_shell(monkeypatch, capsys)
