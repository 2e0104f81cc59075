import pytest

from compodiff.catalogue.captions import list_picture_captions, list_relative_captions
from compodiff.catalogue.pictures import Catalogue
from compodiff.catalogue.relations import RELATIONS


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_change_is_asked_for_in_many_words_that_all_name_the_target(relation: str) -> None:
    captions = list_relative_captions(relation, "old term", "new term")
    assert len(set(captions)) == len(captions) >= 8
    assert all("new term" in caption for caption in captions)


def test_articles_follow_the_term() -> None:
    assert "but a woman" in list_relative_captions("gender", "man", "woman")
    assert "but two women" in list_relative_captions("gender", "two men", "two women")
    assert "but with red hair" in list_relative_captions("hair", "bald head", "red hair")
    assert "but with a bald head" in list_relative_captions("hair", "red hair", "bald head")


def test_a_picture_is_described_with_and_without_its_style(small_catalogue: Catalogue) -> None:
    plain, *styled = list_picture_captions(small_catalogue.pictures.loc["twemoji-1F34E"])
    assert plain == "red apple"
    assert styled
    assert all("red apple" in caption and "Twemoji" in caption for caption in styled)
