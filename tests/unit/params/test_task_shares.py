"""What a batch is drawn from: shares of sets, by task."""

from compodiff.params import TaskShares


def test_shares_are_looked_up_by_task_and_name_every_set_once():
    shares = TaskShares(
        text_to_image={"pairs": 0.3}, masked={"pairs": 0.1, "scenes": 0.2}, triplet={"edits": 0.3, "scenes": 0.1}
    )
    assert shares.by_task["masked"] == {"pairs": 0.1, "scenes": 0.2}
    assert list(shares.by_task) == ["text_to_image", "masked", "triplet"]
    assert shares.sets == ["edits", "pairs", "scenes"]


def test_shares_that_add_up_but_for_rounding_are_taken():
    thirds = TaskShares(text_to_image={"a": 1 / 3, "b": 1 / 3}, masked={}, triplet={"a": 0.333333333})
    assert thirds.sets == ["a", "b"]
