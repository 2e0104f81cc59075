"""Terms of captions, how they are counted, and which terms replace which; the real tagger."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compodiff.captions.replacements import are_near_synonyms, embed_terms, find_replacements
from compodiff.errors import ResourceUnavailable
from compodiff.language.terms import ATTRIBUTE as ADJECTIVE
from compodiff.language.terms import ONE, PLURAL, SINGULAR, Occurrence, TaggedCaption, Tagger, TermCounts


def words(captions):
    return [[(it.caption[o.start : o.end], o.form) for o in it.occurrences] for it in captions]


def test_nouns_and_their_adjectives_are_found_with_their_forms(tagger):
    found = words(
        tagger.tag(
            [
                "Dog on beach",
                "two old cats sleeping on a wooden coffee table",
                "a photo of the snow",
                "running fast",
                "İ red dog",
            ]
        )
    )
    assert found[:4] == [
        [("Dog", SINGULAR), ("beach", SINGULAR)],
        [("old", ADJECTIVE), ("cats", PLURAL), ("wooden", ADJECTIVE), ("coffee table", ONE)],
        [("snow", SINGULAR)],
        [],
    ]
    assert ("dog", SINGULAR) in found[4]  # a letter that gets longer in lower case moves no term


def test_a_pipeline_that_is_not_there_is_named():
    with pytest.raises(ResourceUnavailable, match="no pipeline 'en_none'"):
        Tagger("en_none")


def tagged(*terms):
    """A caption of `terms` ((word, form) each)."""
    caption, occurrences = "", []
    for word, form in terms:
        occurrences.append(Occurrence(len(caption), len(caption) + len(word), form))
        caption += word + " "
    return TaggedCaption(caption.strip(), tuple(occurrences))


def test_a_noun_is_counted_where_an_article_precedes_it_often_enough():
    counts = TermCounts(100)
    for _ in range(9):
        counts.add(tagged(("dog", SINGULAR), ("Snow", SINGULAR), ("cats", PLURAL), ("orange", ADJECTIVE)))
    counts.add(tagged(("dog", ONE), ("dog", ONE), ("orange", ONE), ("rare", ONE)))
    assert counts.find_frequent(min_count=2, max_terms=9) == {
        "dog": ONE, "orange": ADJECTIVE, "cats": PLURAL, "snow": SINGULAR
    }  # fmt: skip
    assert list(counts.find_frequent(min_count=2, max_terms=2)) == ["dog", "orange"]


@given(st.lists(st.sampled_from("abcdefghijklmnop"), max_size=300), st.integers(2, 8))
def test_counts_in_bounded_memory_are_never_too_low_nor_too_high_by_more_than_was_forgotten(terms, capacity):
    counts = TermCounts(capacity)
    for term in terms:
        counts.add(tagged((term, ONE)))
        assert len(counts._counts) <= capacity
    for term, exact in Counter(terms).items():
        held = counts._counts.get((term, ONE), counts.forgotten)
        assert exact <= held <= exact + counts.forgotten
    met = Counter(terms)
    for term in counts.find_frequent(min_count=1, max_terms=9):
        assert met[term] >= 1
    for term in counts.find_frequent(min_count=3, max_terms=9):
        assert met[term] >= 3


def test_what_may_owe_its_count_to_the_forgotten_is_left_out_and_said(caplog):
    counts = TermCounts(8)
    for number in range(100):
        for term in ("dog", "cat", f"rare{number}", f"other{number}"):
            counts.add(tagged((term, ONE)))
    assert counts.forgotten >= 2
    assert [*counts.find_frequent(min_count=2, max_terms=9)] == ["cat", "dog"]
    assert f"that were counted {counts.forgotten + 2} times, not 2" in caplog.text


def test_nouns_in_capitals_are_found(tagger):
    (found,) = tagger.tag(["BLACK CAT ON SOFA"])
    assert [found.caption[it.start : it.end] for it in found.occurrences] == ["BLACK", "CAT", "SOFA"]


def test_replacements_are_of_the_form_and_the_band_and_no_synonyms():
    generator = np.random.default_rng(3)
    forms = {f"{letter}{number}": number % 3 for number in range(60) for letter in ("k", "w")}
    vectors = generator.normal(size=(len(forms), 6)).astype(np.float32)
    found = find_replacements(forms, vectors, low=0.2, high=0.6, seed=17)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = dict(zip(forms, unit @ unit.T, strict=True))
    places = {term: place for place, term in enumerate(forms)}
    for term, others in found.choices.items():
        expected = {
            other for other in forms if forms[other] == forms[term] and 0.2 <= cosines[term][places[other]] <= 0.6
        }
        assert set(others) == expected
        assert term not in others


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("boat", "sailboat", True),
        ("berry", "strawberry", True),
        ("colour", "color", True),
        ("coffee table", "table", True),
        ("man", "woman", False),
        ("cat", "car", False),
        ("dog", "horse", False),
    ],
)
def test_near_synonyms_by_their_letters(one, other, same):
    assert are_near_synonyms(one, other) == are_near_synonyms(other, one) == same


def test_terms_are_embedded_once_and_each_in_its_row(tiny_encoder, tmp_path):
    terms, embedded = ["coffee table", "dog", "cat"], []
    first = embed_terms(terms, tiny_encoder, tmp_path, embedded.append)
    again = embed_terms(terms, tiny_encoder, tmp_path, embedded.append)
    assert sum(embedded) == len(terms)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, tiny_encoder.encode_texts(terms).pooled.numpy(), atol=1e-5)
