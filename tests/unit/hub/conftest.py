"""A loopback hub, which this process uses with a cache of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worlds.command import make_shell
from worlds.hub import LoopbackHub, point_at


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        point_at(server, home, monkeypatch)
        yield server


@pytest.fixture
def compodiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process, outside any project; return (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    return make_shell(monkeypatch, capsys)
