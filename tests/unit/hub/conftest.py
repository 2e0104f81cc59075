"""A loopback hub, which this process uses with a cache of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds.hub import LoopbackHub, point_at


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        point_at(server, home, monkeypatch)
        yield server
