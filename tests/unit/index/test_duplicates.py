"""Groups of near-duplicates: against the obvious loop, however they grew, and in seconds where thousands are alike."""

import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compodiff.images.looks import LOOK_SHAPE
from compodiff.index import duplicates
from compodiff.index.duplicates import NEW, group_duplicates

ALIKE = 24  # of 255: as near as two plain greys of one group are at most


def _facts(greys):
    """Plain pictures of these greys: near by embedding, and alike if their greys are."""
    looks = np.broadcast_to(np.array(greys, np.uint8)[:, None], (len(greys), *LOOK_SHAPE))
    return np.ones((len(greys), 4), np.float32), looks


def _obvious(greys):
    first = []
    for row, grey in enumerate(greys):
        first.append(next((each for each in first if abs(greys[each] - grey) <= ALIKE), row))
    return first


@given(
    greys=st.lists(st.integers(0, 160), min_size=1, max_size=24),
    when=st.lists(st.integers(0, 3), min_size=24, max_size=24),
    gone=st.lists(st.booleans(), min_size=24, max_size=24),
    at_once=st.sampled_from([1, 2, 3, 7, 512]),
)
@settings(max_examples=300, deadline=None)
def test_groups_that_grew_are_those_of_the_obvious_loop_over_all(greys, when, gone, at_once):
    """Pictures come in four steps, wherever in the order; before the last step some go."""
    place = {grey_at: grey for grey_at, grey in enumerate(greys)}
    known: dict[int, int] = {}
    duplicates_at_once = duplicates._AT_ONCE
    duplicates._AT_ONCE = at_once
    try:
        for step in range(4):
            there = [each for each in place if when[each] <= step and not (step == 3 and gone[each])]
            row_of = {each: row for row, each in enumerate(there)}
            from_before = [row_of.get(known.get(each, NEW), NEW) for each in there]
            embeddings, looks = _facts([place[each] for each in there])
            first = group_duplicates(embeddings, looks, np.array(from_before, np.int64), np.arange(len(there)), 0.9)
            assert first.tolist() == _obvious([place[each] for each in there])
            known = {each: there[first[row]] for row, each in enumerate(there)}
    finally:
        duplicates._AT_ONCE = duplicates_at_once


def test_the_order_decides_who_is_first():
    embeddings, looks = _facts([100, 120, 140])
    new = np.full(3, NEW)
    assert group_duplicates(embeddings, looks, new, np.array([0, 1, 2]), 0.9).tolist() == [0, 0, 2]
    assert group_duplicates(embeddings, looks, new, np.array([1, 0, 2]), 0.9).tolist() == [1, 1, 1]


def test_far_embeddings_keep_what_looks_the_same_apart():
    _, looks = _facts([100, 100])
    apart = np.eye(2, 4, dtype=np.float32)
    assert group_duplicates(apart, looks, np.full(2, NEW), np.arange(2), 0.9).tolist() == [0, 1]


def test_four_thousand_that_are_alike_are_one_group_in_seconds():
    embeddings, looks = _facts([100] * 4000)
    embeddings = np.repeat(embeddings, 64, axis=1)
    started = time.perf_counter()
    first = group_duplicates(embeddings, looks, np.full(4000, NEW), np.arange(4000), 0.9)
    assert not first.any()
    assert time.perf_counter() - started < 10


def test_four_thousand_that_are_near_but_look_otherwise_stay_apart_in_seconds():
    noise = np.random.default_rng(0).integers(100, 150, (4000, *LOOK_SHAPE), dtype=np.uint8)
    noise[:, :768] = 125
    started = time.perf_counter()
    first = group_duplicates(np.ones((4000, 64), np.float32), noise, np.full(4000, NEW), np.arange(4000), 0.9)
    assert first.tolist() == list(range(4000))
    assert time.perf_counter() - started < 30
