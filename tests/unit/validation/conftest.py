"""A set, embedded, with the faults that a test puts into its rows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from factories import make_embedding_params
from worlds.judged import Change, Made, list_pairs, list_triplets, write_set

from compodiff.embeddings import embed_set
from compodiff.sets import TRIPLETS
from compodiff.validation import HeldOut


@pytest.fixture
def make(tmp_path: Path, encoder_folder: Path) -> Callable[..., Made]:
    """Return what writes and embeds a set, after a change of its rows and some damage to its files."""

    def make(kind: str = TRIPLETS, change: Change | None = None, damage: Callable[[Path], None] | None = None) -> Made:
        rows = list_triplets() if kind == TRIPLETS else list_pairs()
        if change:
            change(rows)
        number = len(list(tmp_path.glob("set*")))
        (tmp_path / f"set{number}").mkdir()
        folder = write_set(tmp_path / f"set{number}", kind, rows)
        if damage:
            damage(folder)
        made = Made(folder, tmp_path / "embeddings" / str(number))
        made.embeddings.parent.mkdir(exist_ok=True)
        embed_set(made.embeddings, folder, encoder_folder, make_embedding_params(masks_per_picture=0))
        return made

    return make


NOTHING = HeldOut(np.empty(0, np.uint64), np.empty(0, np.uint64))
