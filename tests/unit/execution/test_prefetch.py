"""What is made ahead comes in order, a step ahead, and an error comes where its result is asked for."""

import threading

import pytest

from compodiff.execution.prefetch import map_ahead


def test_results_come_in_order_and_one_is_made_ahead() -> None:
    made: list[int] = []
    second = threading.Event()

    def prepare(item: int) -> int:
        made.append(item)
        if item == 1:
            second.set()
        return item * item

    results = map_ahead(prepare, range(4))
    assert next(results) == 0
    assert second.wait(5)  # nobody has asked for it yet
    assert list(results) == [1, 4, 9]
    assert made == [0, 1, 2, 3]
    assert list(map_ahead(prepare, [])) == []


def test_an_error_comes_with_the_result_that_it_spoils() -> None:
    results = map_ahead(lambda item: 1 // item, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
