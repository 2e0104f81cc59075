"""What a relative caption wants, read off its wording."""

import pytest

from compodiff.language.templates import ADD, REMOVE, REPLACE, TEMPLATES
from compodiff.language.wishes import Wish, read_wish
from compodiff.scenes.exact.captions import list_all_wordings
from compodiff.scenes.exact.operations import GROUNDS


@pytest.mark.parametrize("article", ["a ", "the ", ""])
def test_all_wordings_of_pairs_are_read(article: str) -> None:
    there, gone = f"{article}red dog", f"{article}cat"
    terms = {"target": there, "reference": gone, "reference_bare": gone}
    expected = {REPLACE: Wish(there, gone), ADD: Wish(there, keeps=True), REMOVE: Wish("", gone, keeps=True)}
    for kind, wish in expected.items():
        for wording in TEMPLATES[kind]:
            assert read_wish(wording.format(**terms)) == wish, wording


@pytest.mark.parametrize(
    ("caption", "wish"),
    [
        ("a giraffe instead", Wish("a giraffe")),
        ("A giraffe, instead of the two cats.", Wish("A giraffe", "the two cats")),
        ("please replace it with a dog", Wish("a dog", "it")),
        ("the same, but a dog!", Wish("a dog")),
        ("make it a dog, please", Wish("a dog")),
        ("the cat becomes a dog", Wish("a dog", "the cat")),
        ("not the cat but a dog", Wish("a dog", "the cat")),
        ("without the hat", Wish("", "the hat", keeps=True)),
        ("also a hat", Wish("a hat", keeps=True)),
        ("make it red", Wish("make it red")),
        ("two of them", Wish("two of them")),
        ("", Wish("")),
    ],
)
def test_a_wording_says_what_is_to_be_there_and_what_is_to_go(caption: str, wish: Wish) -> None:
    assert read_wish(caption) == wish


def test_edits_of_a_whole_picture_replace_nothing() -> None:
    read = [read_wish(wording) for wording in list_all_wordings(GROUNDS)]
    assert not [wish for wish in read if wish.there and wish.gone]
