"""Our grammar of everyday things: captions that read well, edits that change one thing, the same from the same seed."""

from compodiff.captions.everyday import COUNT, PLACE, EverydayCaption, EverydayGrammar
from compodiff.captions.everyday_words import KINDS, make_plural
from compodiff.language.templates import ADD, ATTRIBUTE, REMOVE, REPLACE


def test_captions_differ_and_depend_on_the_seed_alone() -> None:
    captions, again, others = (list(EverydayGrammar(seed).draw_captions(300)) for seed in (1, 1, 2))
    assert len(set(captions)) == 300
    assert captions == again
    assert captions != others


def test_an_edit_changes_what_its_relative_caption_says() -> None:
    edits = list(EverydayGrammar(3, ["tench"]).draw_edits(1500))
    assert {edit.relation for edit in edits} >= {REPLACE, ATTRIBUTE, PLACE, ADD, REMOVE, COUNT}
    assert all(edit.reference_caption != edit.target_caption for edit in edits)
    assert all(edit.keyword in edit.target_caption for edit in edits)
    moved = next(edit for edit in edits if edit.relation == PLACE)
    assert moved.keyword in moved.relative_caption
    assert any("tench" in edit.reference_caption for edit in edits)


def test_an_article_fits_its_word_and_a_number_its_plural() -> None:
    captions = list(EverydayGrammar(5).draw_captions(2000))
    assert not [caption for caption in captions if caption.startswith(("a a", "a e", "a o"))]
    assert [make_plural(name) for name in ("mouse", "cup of coffee", "sports car", "box", "canary", "toy car")] == [
        *("mice", "cups of coffee", "sports cars", "boxes", "canaries", "toy cars"),
    ]
    dogs = EverydayCaption(KINDS[0], "dog", number="two", attribute="old", place="on a beach", companion="apple")
    assert str(dogs) == "two old dogs and an apple on a beach"
    assert str(EverydayCaption(KINDS[0], "dog", attribute="old", moment="at night")) == "an old dog at night"
