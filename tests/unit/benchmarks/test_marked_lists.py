"""Ranks of what a submission lists, against a look into the list itself; and options of FashionIQ that are refused."""

from pathlib import Path

import numpy as np
import pytest

from compodiff.benchmarks.datasets.benchmark import BenchmarkQuery
from compodiff.benchmarks.datasets.fashioniq import load_fashioniq
from compodiff.benchmarks.scoring.marked_ranks import UNRANKED, mark_lists
from compodiff.errors import InputInvalid


def test_a_mark_has_its_place_in_the_list_and_one_that_is_not_listed_has_none() -> None:
    queries = [
        BenchmarkQuery("1", "r", "red", (), targets=("a",), also_relevant=("b", "a", "x")),
        BenchmarkQuery("2", "r", "red", (), targets=("d",)),
    ]
    lists = [["c", "b", "d", "a"], ["d", "a"]]
    marks = mark_lists(queries, lists)
    assert marks.names == [["a", "b", "x"], ["d"]]
    ranks = marks.compute_ranks(np.ones(marks.scores.shape))
    assert ranks.tolist() == [[4, 2, UNRANKED], [1, UNRANKED, UNRANKED]]


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ({"category": "hat"}, "there is no category 'hat' of fashioniq; choose from: "),
        ({"variant": "all"}, "there is no gallery variant 'all' of fashioniq; choose from: "),
        ({"order": "last"}, "there is no caption order 'last'; choose from: "),
    ],
)
def test_options_of_fashioniq_that_do_not_exist_are_named(tmp_path: Path, option: dict[str, str], fault: str) -> None:
    with pytest.raises(InputInvalid, match=fault):
        load_fashioniq(tmp_path, "val", **option)
