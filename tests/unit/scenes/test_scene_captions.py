import pytest

from compodiff.scenes.captions import SCENE_RELATIONS, describe_scene, is_countable, is_noun, list_wordings, make_plural

TERMS = {
    "name": "red apple",
    "a_name": "a red apple",
    "a_new": "a dog",
    "bare": "apple",
    "new": "green",
    "old": "red",
    "place": "top left",
    "number": "two",
    "names": "red apples",
    "plural": "red apples",
}


def test_a_scene_is_listed_with_counts_and_its_ground():
    assert describe_scene(["dog"], ("pink", "pink")) == "a dog on a pink ground"
    assert describe_scene(["dog", "apple"], ("pink", "pink")) == "a dog and an apple on a pink ground"
    expected = "two dogs, an apple and a lion on a ground from white to beige"
    assert describe_scene(["dog", "apple", "dog", "lion"], ("white", "beige")) == expected


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("apple", "apples"),
        ("fox", "foxes"),
        ("cherry blossom", "cherry blossoms"),
        ("fairy", "fairies"),
        ("monkey", "monkeys"),
        ("computer mouse", "computer mice"),
        ("fish", "fish"),
        ("peach", "peaches"),
    ],
)
def test_plurals(one, many):
    assert make_plural(one) == many


def test_which_names_fit_a_sentence():
    fits = [
        "apple",
        "woman scientist with dark skin tone",
        "flag of St. Lucia",
        "person bowing",
        "smiling face with tears",
    ]
    assert all(map(is_noun, fits))
    assert not any(map(is_noun, ["french fries", "camping", "locked", "heart hands with dark skin tone"]))
    assert [is_countable(name) for name in ("red apple", "flag of France", "person bowing", "scissors")] == [
        True,
        False,
        False,
        False,
    ]


def test_every_wording_names_what_the_edit_is_about():
    for relation in SCENE_RELATIONS:
        written = list_wordings(relation, TERMS)
        assert len(set(written)) == len(written) >= 7
        assert all("apple" in text for text in written)


def test_skin_tone_is_given_and_not_painted():
    written = list_wordings("recolour", TERMS | {"new": "dark skin tone", "old": "light skin tone"})
    assert "give the apple dark skin tone" in written
    assert not any(text.startswith(("make", "paint", "turn")) for text in written)
