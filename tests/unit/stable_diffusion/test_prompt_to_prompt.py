import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compodiff.stable_diffusion.prompt_to_prompt import Alignment, Sharing, Word, align, group_words, mix_maps

LENGTH, LONG = 12, 17
A, CAT, HIPPO, ON, MAT = (1,), (2,), (3, 4, 5), (6,), (7, 8)

captions = st.lists(st.sampled_from([A, CAT, HIPPO, ON, MAT]), max_size=5)


def positions(words: list[Word]) -> list[range]:
    starts = [1 + sum(len(word) for word in words[:place]) for place in range(len(words))]
    return [range(start, start + len(word)) for start, word in zip(starts, words, strict=True)]


def test_a_word_in_place_of_another_shares_its_maps_evenly_whatever_the_number_of_tokens():
    alignment = align([A, CAT, ON, MAT], [A, HIPPO, ON, MAT], LENGTH)
    expected = torch.zeros(LENGTH, LENGTH)
    for target, reference in {0: 0, 1: 1, 5: 3, 6: 4, 7: 5, 8: 6, 9: 7, 10: 8, 11: 9}.items():
        expected[target, reference] = 1  # the start, the words that both have, the end and the padding
    expected[2:5, 2] = 1 / 3
    torch.testing.assert_close(alignment.shared, expected)
    assert alignment.own.sum() == 0
    back = align([A, HIPPO, ON, MAT], [A, CAT, ON, MAT], LENGTH)
    assert back.shared[2, 2:5].tolist() == [1, 1, 1]
    assert torch.nonzero(back.own).flatten().tolist() == [10, 11]  # padding that the longer reference has not


def test_a_word_that_was_added_keeps_its_own_map_and_the_others_take_theirs():
    alignment = align([A, CAT], [A, CAT, ON, MAT], LENGTH)
    assert torch.nonzero(alignment.own).flatten().tolist() == [3, 4, 5]
    assert alignment.shared[[0, 1, 2, 6], [0, 1, 2, 3]].tolist() == [1, 1, 1, 1]
    assert alignment.shared[3:6].sum() == 0


@given(captions, captions)
def test_every_token_has_a_map_and_shared_words_have_the_references(reference, target):
    alignment = align(reference, target, LONG)
    has_shared = alignment.shared.sum(dim=1) > 0
    assert torch.equal(has_shared, alignment.own == 0)
    assert (alignment.shared.sum(dim=0) <= 1 + 1e-6).all()  # no map is given away twice
    if reference == target:
        assert torch.equal(alignment.shared, torch.eye(LONG))


@given(
    st.lists(st.sampled_from([A, CAT, HIPPO]), min_size=1, max_size=3), st.integers(0, 2), st.sampled_from([ON, MAT])
)
def test_replacing_a_word_leaves_every_map_a_distribution_but_for_its_padding(words, place, new):
    place %= len(words)
    alignment = align(words, [*words[:place], new, *words[place + 1 :]], LENGTH)
    own_maps, maps = (torch.rand(1, 2, 5, LENGTH).softmax(dim=-1) for _ in range(2))
    mixed = mix_maps(maps, own_maps, Alignment(alignment.shared[None], alignment.own[None]))
    padding = alignment.own.bool()
    lost = maps[..., alignment.shared.sum(dim=0) == 0].sum(dim=-1)
    torch.testing.assert_close(mixed[..., ~padding].sum(dim=-1), 1 - lost)
    for row, before in zip(positions(words), positions(words), strict=True):
        if row.start < positions(words)[place].start:
            assert torch.equal(mixed[..., list(row)], maps[..., list(before)])


def test_rows_share_for_their_fraction_of_the_steps_only():
    alignment = align([A, CAT], [A, HIPPO], LENGTH)
    sharing = Sharing([alignment] * 3, [0.0, 0.4, 1.0], torch.device("cpu"))
    seen = []
    for step in range(5):
        sharing.advance(step / 5)
        assert (sharing.targets - sharing.references == 3).all()
        seen.append(sharing.targets.tolist())
    # Rows 0-2 and 6-8 are references, without and with text; 3-5 and 9-11 are targets.
    assert seen == [[4, 5, 10, 11]] * 2 + [[5, 11]] * 3
    sharing.advance(0)
    assert torch.equal(sharing.alignment.shared[0], torch.eye(LENGTH))
    assert torch.equal(sharing.alignment.shared[-1], alignment.shared)


@pytest.mark.parametrize(
    ("ids", "numbers", "words"),
    [
        ([9, 1, 3, 4, 2, 9], [None, 0, 1, 1, 2, None], [(1,), (3, 4), (2,)]),
        ([9, 9], [None, None], []),
    ],
)
def test_token_ids_are_grouped_by_word(ids, numbers, words):
    assert group_words(ids, numbers) == words
