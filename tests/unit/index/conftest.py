from pathlib import Path

import pytest
from worlds.album import draw_album
from worlds.retrieval import composer, encoder

__all__ = ["album", "composer", "encoder"]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    return draw_album(tmp_path / "album")
