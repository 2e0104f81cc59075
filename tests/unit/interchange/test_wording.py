"""The change between two captions, and how it is worded."""

from random import Random

import pytest

from compodiff.interchange.wording import WordingChange, find_change, put_in_words

CHANGES = {
    ("a dog on a beach", "a cat on a beach"): WordingChange("replace", "a dog", "a cat"),
    ("a dog runs", "an owl runs"): WordingChange("replace", "a dog", "an owl"),
    ("A dog.", "A dog with a red hat."): WordingChange("add", "", "a red hat"),
    ("two boats and snow", "two boats"): WordingChange("remove", "snow", ""),
    ("a red car", "a blue car"): WordingChange("attribute", "red", "blue", "car"),
    ("a big red dog", "a big blue dog"): WordingChange("attribute", "red", "blue", "dog"),
    ("a red dog on a mat", "a dog on a mat"): WordingChange("replace", "a red dog", "a dog"),
    ("a dog on a mat", "a big dog on a mat"): WordingChange("replace", "a dog", "a big dog"),
    ("two dogs on a sofa", "three dogs on a sofa"): WordingChange("replace", "two dogs", "three dogs"),
    ("two cats on a sofa", "a cat on a sofa"): WordingChange("replace", "two cats", "a cat"),
    ("a coffee table in a room", "a dining table in a room"): WordingChange(
        "replace", "a coffee table", "a dining table"
    ),
    ("a wooden house", "a brick house"): WordingChange("replace", "a wooden house", "a brick house"),
    ("a boat on the lake", "a boat on the sea"): WordingChange("replace", "the lake", "the sea"),
    ("a black cat and a white dog", "a black cat and a brown dog"): WordingChange("attribute", "white", "brown", "dog"),
    ("a dog with a hat", "a dog"): WordingChange("remove", "a hat", ""),
    **{
        both: WordingChange("rewritten", *both)
        for both in (
            ("a man eats", "the sea at night"),
            ("the same", "the same"),
            ("a dog", "a dog wearing a hat"),
            ("a man sits on a bench", "a man stands on a bench"),
            ("a cat in a box", "a cat on a box"),
            ("portrait of a woman", "portrait of a woman as a robot"),
        )
    },
}


@pytest.mark.parametrize("captions", CHANGES)
def test_a_change_is_found_between_captions_and_named(tagger, captions):
    change = find_change(*tagger.tag(captions))
    assert change == CHANGES[captions]
    asked = {put_in_words(change, Random(seed)) for seed in range(40)}
    assert len(asked) >= 4
    assert all(change.target in text for text in asked if change.target)
