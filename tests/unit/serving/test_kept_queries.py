"""The file of kept queries: a fair draw of one model's, written later where it cannot be now."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compodiff.drift.reservoir import QueryReservoir, read_kept_queries
from compodiff.errors import CompoDiffError, InputInvalid


def test_queries_that_cannot_be_written_are_written_later(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    reservoir = QueryReservoir(tmp_path / "file" / "kept")
    fill(reservoir, "one", 1)
    for _ in range(2):
        with pytest.raises(CompoDiffError, match="cannot be written"):
            reservoir.save()
    (tmp_path / "file").unlink()
    reservoir.save()
    assert read_kept_queries(tmp_path / "file" / "kept").seen == 1


def fill(reservoir: QueryReservoir, version: str, count: int) -> None:
    for number in range(count):
        reservoir.note(version, np.full(3, number, np.float32), None, 0, 0)


def test_every_query_has_the_same_chance_and_another_model_begins_anew(tmp_path: Path) -> None:
    drawn = np.zeros(60)
    for seed in range(300):
        reservoir = QueryReservoir(tmp_path / "none", size=20, seed=seed)
        fill(reservoir, "one", 60)
        assert len(reservoir._kept) == 20
        drawn[[int(answer[0]) for answer, *_ in reservoir._kept]] += 1
    assert np.abs(drawn / 300 - 1 / 3).max() < 0.12
    fill(reservoir, "two", 5)
    reservoir.save()
    assert len(read_kept_queries(tmp_path / "none").answers) == 5


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"PK\x03\x04"), lambda path: np.savez(path, a=1)])
def test_a_file_that_is_no_kept_queries_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    with pytest.raises(InputInvalid, match="is not there; `compodiff serve --keep-queries"):
        read_kept_queries(tmp_path / "q.npz")
    damage(tmp_path / "q.npz")
    with pytest.raises(InputInvalid, match=r"q\.npz is missing or damaged .*; name another file; if serve wrote this"):
        read_kept_queries(tmp_path / "q.npz")


def test_a_folder_or_a_file_of_somebody_is_refused_at_once_and_nobody_is_told_to_unpickle_it(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match="is a folder; name a file"):
        QueryReservoir(tmp_path)
    (tmp_path / "theirs").write_text("encoder:\n")
    with pytest.raises(InputInvalid, match=r"theirs is missing or damaged \(no array, or one of objects"):
        QueryReservoir(tmp_path / "theirs")
