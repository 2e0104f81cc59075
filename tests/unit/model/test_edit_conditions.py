"""The answer to a text that asks for an edit of the whole picture."""

import torch

from compodiff.model.sampling.edits import EditConditions

COMPOSED = torch.arange(24.0).view(3, 2, 4)  # three queries, two draws
REFERENCE, CHANGE = torch.ones(3, 4), torch.full((3, 4), 2.0)


def answer(asked: list[bool], shared: list[bool], unlike: bool = False, **dials: float) -> torch.Tensor:
    usual = {"w_image": 1.0, "w_text": 1.5, "mixing": 0.0} | dials
    edits = EditConditions(REFERENCE, CHANGE, torch.tensor(asked), torch.tensor(shared))
    return edits.answer(COMPOSED, torch.full((3,), unlike), **usual)


def test_an_edit_answers_in_every_draw_and_all_other_rows_keep_their_bits() -> None:
    answers = answer([False, True, False], [False] * 3)
    assert torch.equal(answers[[0, 2]], COMPOSED[[0, 2]])
    assert torch.equal(answers[1], torch.full((2, 4), 4.0))


def test_the_weights_of_guidance_are_of_the_reference_and_of_the_change() -> None:
    assert answer([True] * 3, [False] * 3, w_image=2.0, w_text=0.5)[0, 0, 0] == 3
    assert torch.equal(answer([True] * 3, [False] * 3, mixing=1.0), torch.ones_like(COMPOSED))


def test_shared_words_are_the_networks_unless_the_reference_is_unlike_what_it_learned_from() -> None:
    assert torch.equal(answer([True] * 3, [True] * 3), COMPOSED)
    assert torch.equal(answer([True] * 3, [True] * 3, unlike=True), torch.full_like(COMPOSED, 4.0))
