"""What an answer says of classes: the reference's dimensions, or what the text asks for."""

import numpy as np
import pytest
import torch
from torch import Tensor

from compodiff.model.sampling.classes import ClassConditions, TextWishes, measure_gallery
from compodiff.params import ClassSamplingParams

LEARNED, CLASSES = 4, 3
DIALS = ClassSamplingParams(unlike=1.0, blur=0.01, named=0.5, kept=0.25)
ANSWERS = torch.arange(8.0).view(1, 2, LEARNED)  # one query, two draws
SAID = [0.0, 1, 0, 0]  # what was learned of the texts below
NAMED = torch.tensor([[*SAID, 0.0, 0.0, 2.0]])


def reference_of(length: float) -> Tensor:
    return torch.tensor([[length, 0.0, 0.0]])


def complete(reference: Tensor | None, text: Tensor | None, dials: ClassSamplingParams | None = DIALS) -> Tensor:
    return ClassConditions(reference, text).complete(ANSWERS, dials)


def test_embeddings_without_class_dimensions_stay_whole() -> None:
    images = torch.ones(2, LEARNED)
    learned, classes = ClassConditions.split(images, torch.ones(2, LEARNED), LEARNED)
    assert learned is images
    assert classes is None


def test_the_network_sees_what_is_learned_and_texts_are_told_by_its_length() -> None:
    images, texts = torch.arange(7.0)[None], torch.tensor([[3.0, 0, 4, 0, 10, 0, 5]])
    learned, classes = ClassConditions.split(images, texts, LEARNED)
    assert learned is not None
    assert classes is not None
    assert classes.reference is not None
    assert classes.text is not None
    assert learned.tolist() == [[0, 1, 2, 3]]
    assert classes.reference.tolist() == [[4, 5, 6]]
    torch.testing.assert_close(classes.text, torch.tensor([[0.6, 0, 0.8, 0, 2, 0, 1]]))


@pytest.mark.parametrize(
    ("reference", "text", "expected"),
    [
        (reference_of(0.5), None, [0.5, 0, 0]),
        (None, NAMED, [0, 0, 2]),
        (reference_of(0.5), NAMED, [0.5, 0, 0]),  # like what was learned: the model knows better
        (reference_of(2.0), torch.tensor([[*SAID, 0.0, 0, 0]]), [2, 0, 0]),  # "make it darker"
    ],
    ids=["reference alone", "text alone", "known reference", "no class named"],
)
def test_what_is_composed_stays_where_the_text_does_not_decide(
    reference: Tensor | None, text: Tensor | None, expected: list[float]
) -> None:
    completed = complete(reference, text)
    torch.testing.assert_close(completed[..., :LEARNED], ANSWERS)
    torch.testing.assert_close(completed[..., LEARNED:], torch.tensor(expected, dtype=torch.float).expand(1, 2, -1))


DECIDED = torch.cat([0.25 * ANSWERS + torch.tensor(SAID), torch.tensor([0.0, 0, 2]).expand(1, 2, -1)], dim=2)


def test_a_text_that_names_a_class_decides_over_an_unlike_reference() -> None:
    torch.testing.assert_close(complete(reference_of(2.0), NAMED), DECIDED)


def test_a_text_alone_decides_over_an_unlike_gallery() -> None:
    torch.testing.assert_close(ClassConditions(None, NAMED, gallery=2.0).complete(ANSWERS, DIALS), DECIDED)
    known = ClassConditions(None, NAMED, gallery=0.4).complete(ANSWERS, DIALS)
    torch.testing.assert_close(known, complete(None, NAMED))


def test_between_both_it_decides_by_half() -> None:
    completed = complete(reference_of(1.0), NAMED)
    torch.testing.assert_close(completed[0, 0, LEARNED:], torch.tensor([0.5, 0, 1.0]))


def test_without_dials_the_reference_decides() -> None:
    completed = complete(reference_of(2.0), NAMED, None)
    torch.testing.assert_close(completed[0, 0, LEARNED:], torch.tensor([2.0, 0, 0]))


def test_a_gallery_of_what_was_learned_outvotes_one_odd_reference() -> None:
    odd = reference_of(1.5)
    kept = ClassConditions(odd, NAMED, gallery=0.4).complete(ANSWERS, DIALS)
    decided = ClassConditions(odd, NAMED, gallery=1.0).complete(ANSWERS, DIALS)
    torch.testing.assert_close(kept[0, 0, LEARNED:], odd[0], atol=0.02, rtol=0)
    torch.testing.assert_close(decided, DECIDED)


def test_a_gallery_is_measured_by_its_class_dimensions() -> None:
    pictures = np.full((5000, LEARNED + CLASSES), 9, np.float32)
    pictures[:, LEARNED:] = [3, 0, 4]
    assert measure_gallery(pictures, LEARNED) == pytest.approx(5)
    assert measure_gallery(pictures[:, :LEARNED], LEARNED) is None
    assert measure_gallery(pictures[:0], LEARNED) is None


@pytest.mark.parametrize(
    ("there", "gone", "keeps", "expected"),
    [
        ([0.0, 0, 3], [0.0, 4, 0], False, [0.0, 0, 3]),
        ([0.0, 0, 3], [0.0, 0, 0], True, [1.2, 1.6, 6]),  # three times as long as the reference
        ([0.0, 0, 0], [0.0, 4, 0], True, [1.2, -4.4, 0]),
    ],
    ids=["replace A with B", "add B", "without A"],
)
def test_wishes_are_answered_where_the_text_decides(
    there: list[float], gone: list[float], keeps: bool, expected: list[float]
) -> None:
    wishes = TextWishes(torch.tensor([[*SAID, *there]]), torch.tensor([[*SAID, *gone]]), torch.tensor([keeps]))
    completed = ClassConditions(torch.tensor([[1.2, 1.6, 0.0]]), NAMED, wishes=wishes).complete(ANSWERS, DIALS)
    torch.testing.assert_close(completed[0, 0, LEARNED:], torch.tensor(expected))
    torch.testing.assert_close(completed[..., :LEARNED], ANSWERS if keeps else DECIDED[..., :LEARNED])
