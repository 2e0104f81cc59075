"""Keyword captions, from what an edit says to the pairs in a file; the real tagger, small sets."""

from collections import Counter
from random import Random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds.captions import COLOURS, FORMS, NOUNS, PARAMS, make_caption_params, replace_all

from compodiff.captions.by_keywords import KeywordRun
from compodiff.captions.edits import CaptionEditor
from compodiff.errors import InputInvalid
from compodiff.language.templates import ADD, ATTRIBUTE, REMOVE, REPLACE, TEMPLATES, choose_article
from compodiff.language.terms import ONE, SINGULAR
from compodiff.pairs.caption_file import COLUMNS, read_caption_pairs

WIDER = FORMS | {"owl": ONE, "snow": SINGULAR, "sand": SINGULAR}
SET = [
    f"a {colour} {one} standing near a {other} on the grass"
    for colour in COLOURS
    for one in NOUNS
    for other in NOUNS
    if one != other
]


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text("\n".join(SET))
    return path


def test_there_are_at_least_forty_templates_all_different():
    every = [template for templates in TEMPLATES.values() for template in templates]
    assert len(set(every)) == len(every) >= 40
    assert all(len(templates) >= 10 for templates in TEMPLATES.values())
    assert all("{target}" in template for kind in (REPLACE, ADD, ATTRIBUTE) for template in TEMPLATES[kind])
    assert all("{reference" in template for template in TEMPLATES[REMOVE])


@pytest.mark.parametrize(
    ("word", "expected"), [("owl", "an"), ("unicorn", "a"), ("hour", "an"), ("umbrella", "an"), ("house", "a")]
)
def test_articles_follow_the_sound(word, expected):
    assert choose_article(word) == expected


def only(kind, **changes):
    shares = dict.fromkeys(("replace", "add", "remove", "attribute"), 0.0) | {kind: 1.0}
    return make_caption_params(shares=shares, swapped_share=0.0, **changes).keywords


@pytest.mark.parametrize("kind", [REPLACE, ADD, REMOVE, ATTRIBUTE])
@given(seed=st.integers(0, 2**32))
def test_an_edit_changes_what_it_says(kind, seed, edited_captions):
    for it in edited_captions:
        for edit in CaptionEditor(replace_all(WIDER), only(kind, pairs_per_caption=3)).make_edits(it, Random(seed)):
            assert edit.relation == kind
            assert edit.keyword in edit.target_caption.lower()
            assert it.caption == (edit.target_caption if kind == REMOVE else edit.reference_caption)
            assert edit.reference_caption != edit.target_caption
            assert "{" not in edit.relative_caption
            for caption in (edit.reference_caption, edit.target_caption):
                for before, after in zip(caption.split(), caption.split()[1:], strict=False):
                    if before in ("a", "an"):
                        assert before == choose_article(after)
            if kind in (REPLACE, ADD, ATTRIBUTE):
                assert edit.keyword in edit.relative_caption
                assert edit.keyword not in edit.reference_caption


@pytest.fixture(scope="module")
def edited_captions(tagger):
    return list(tagger.tag(["A dog near a red house.", "the cat on a white boat", "snow behind an owl", "two people"]))


def test_a_plain_replacement_reads_as_before(edited_captions):
    forms = {"dog": ONE, "owl": ONE}
    (edit,) = CaptionEditor(replace_all(forms), only(REPLACE)).make_edits(edited_captions[0], Random(0))
    assert edit.target_caption == "An owl near a red house."
    assert list(CaptionEditor(replace_all(forms), only(REPLACE)).make_edits(edited_captions[3], Random(0))) == []


def test_half_of_the_pairs_are_swapped_when_asked(edited_captions):
    params = only(REPLACE).model_copy(update={"swapped_share": 0.5})
    editor, it = CaptionEditor(replace_all(WIDER), params), edited_captions[0]
    edits = [edit for seed in range(400) for edit in editor.make_edits(it, Random(seed))]
    swapped = sum(edit.target_caption == it.caption for edit in edits)
    assert 150 < swapped < 250
    assert all(edit.keyword in edit.target_caption.lower() for edit in edits)


def test_no_pair_comes_twice_and_no_caption_is_in_both_splits(tmp_path, tagger):
    # Few nouns: what one caption becomes is another caption of the set, in either split.
    nouns = ("dog", "cat", "horse")
    path = tmp_path / "captions.txt"
    places = ("mat", "sofa", "rug")
    path.write_text("".join(f"a {a} and a {b} on a {c}\n" for a in nouns for b in nouns for c in places))
    params = make_caption_params(pairs_per_caption=4, min_count=2).model_copy(update={"validation_fraction": 0.4})
    forms = dict.fromkeys((*nouns, *places), ONE)
    _, summary, written = made(path, tmp_path, tagger, forms, params)
    pairs = list(read_caption_pairs(written))
    assert summary["dropped"]["duplicate"] > 0
    assert summary["dropped"]["other_split"] > 0
    assert len({(pair.reference_caption, pair.target_caption) for pair in pairs}) == len(pairs)
    of = {
        split: {text for it in pairs if it.split == split for text in (it.reference_caption, it.target_caption)}
        for split in ("train", "validation")
    }
    assert of["train"]
    assert of["validation"]
    assert not of["train"] & of["validation"]


def made(captions, folder, tagger, forms, params):
    making = KeywordRun(captions, folder / "work", params)
    tally = making.tag(tagger)
    return tally, making.write(replace_all(forms), folder / "pairs.parquet"), folder / "pairs.parquet"


def test_a_set_becomes_pairs_that_a_generator_can_read(captions, tmp_path, tagger):
    params = make_caption_params(pairs_per_caption=2).model_copy(update={"validation_fraction": 0.2})
    tally, summary, path = made(captions, tmp_path, tagger, FORMS, params)
    pairs = list(read_caption_pairs(path))
    assert tally["usable"] == len(SET)
    assert len(pairs) == summary["pairs"] > len(SET)
    assert len({pair.key for pair in pairs}) == len(pairs)
    assert Counter(pair.relation for pair in pairs) == summary["by_relation"]
    assert set(summary["by_relation"]) == {REPLACE, ADD, REMOVE, ATTRIBUTE}
    # A caption of the smaller split is more often one that the other has.
    assert 0.05 < sum(pair.split == "validation" for pair in pairs) / len(pairs) < 0.3
    frequent = KeywordRun(captions, tmp_path / "work", params).find_frequent_terms()
    assert FORMS.items() <= frequent.items()
    assert frequent["grass"] == SINGULAR


def test_a_seed_gives_the_same_bytes_and_tags_nothing_again(captions, tmp_path, tagger):
    _, _, path = made(captions, tmp_path, tagger, FORMS, PARAMS)
    first, tags = path.read_bytes(), tmp_path / "work" / "tagged.parquet"
    written = tags.stat().st_mtime_ns
    _, _, path = made(captions, tmp_path, tagger, FORMS, PARAMS)
    assert path.read_bytes() == first
    _, _, path = made(captions, tmp_path, tagger, FORMS, PARAMS.model_copy(update={"seed": 18}))
    assert path.read_bytes() != first
    assert tags.stat().st_mtime_ns == written
    captions.write_text("\n".join([*SET, "a dog near a lamp"]))
    assert made(captions, tmp_path, tagger, FORMS, PARAMS)[0]["usable"] == len(SET) + 1


def test_sets_that_give_nothing_end_with_the_reason(tmp_path, tagger):
    path = tmp_path / "captions.txt"
    path.write_text("dog\n\nEine rote Katze auf dem Tisch\n")
    with pytest.raises(InputInvalid, match=r"no usable caption \(3 read, 1 empty, 1 one_word, 1 not_english\)"):
        KeywordRun(path, tmp_path / "work", PARAMS).tag(tagger)
    path.write_text("running fast in winter\n")
    making = KeywordRun(path, tmp_path / "work", PARAMS)
    making.tag(tagger)
    with pytest.raises(InputInvalid, match=r"occurs 5 times; lower captions\.keywords\.min_count"):
        making.find_frequent_terms()
    with pytest.raises(InputInvalid, match=r"no caption of .* has a term with a replacement"):
        making.write(replace_all(FORMS), tmp_path / "pairs.parquet")
    assert not (tmp_path / "pairs.parquet").exists()


GOOD = dict(
    zip(COLUMNS, ("k-1", "train", "k-1-a", "k-1-b", "a dog", "a cat", "make it a cat", "replace", "cat"), strict=True)
)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"keyword": "horse"}, "the keyword 'horse' is missing in the target caption 'a cat'"),
        ({"target_caption": " "}, "no target_caption"),
        ({"target_caption": "a dog"}, "caption of both"),
        ({"key": "a.b"}, "has a dot"),
        ({"split": "test"}, "none of train, validation"),
    ],
)
def test_rows_that_no_picture_can_come_of_are_named(tmp_path, change, fault):
    pd.DataFrame([GOOD, GOOD | change]).to_parquet(tmp_path / "pairs.parquet")
    with pytest.raises(InputInvalid, match=rf"pairs\.parquet, row 2: .*{fault}"):
        list(read_caption_pairs(tmp_path / "pairs.parquet"))


def test_terms_outside_the_band_of_the_encoder_are_said_to_be(captions, tmp_path, tagger, tiny_encoder):
    making = KeywordRun(captions, tmp_path / "work", make_caption_params(min_similarity=-1.0, max_similarity=-0.999))
    making.tag(tagger)
    with pytest.raises(InputInvalid, match=r"within \[-1\.0, -0\.999\] of compodiff-tiny; widen"):
        making.find_replacements(tiny_encoder)
    making = KeywordRun(captions, tmp_path / "work", make_caption_params(min_similarity=-1.0, max_similarity=1.0))
    assert set(COLOURS) <= set(making.find_replacements(tiny_encoder).choices)
