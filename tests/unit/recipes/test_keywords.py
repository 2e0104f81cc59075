import dataclasses
import itertools

import pytest
from factories import make_edits_params

from compodiff.catalogue.captions import list_relative_captions
from compodiff.catalogue.pictures import Catalogue
from compodiff.pairs.pair import CaptionPair
from compodiff.recipes.emoji import list_caption_pairs


@pytest.fixture(scope="module")
def pairs(small_catalogue: Catalogue) -> list[CaptionPair]:
    return list_caption_pairs(small_catalogue, make_edits_params())


def test_every_relation_of_train_and_validation_becomes_a_pair_and_none_of_test(small_catalogue, pairs):
    relations = small_catalogue.relations.query("split != 'test'")
    rows = zip(relations["split"], relations["reference"], relations["target"], relations["relation"], strict=True)
    assert sorted((it.split, it.reference, it.target, it.relation) for it in pairs) == sorted(rows)
    split_of = small_catalogue.pictures["split"]
    assert {split_of[name] for it in pairs for name in (it.reference, it.target)} == {"train", "validation"}
    assert all(split_of[name] == it.split for it in pairs for name in (it.reference, it.target))


def test_captions_are_the_pictures_own_and_the_relative_caption_asks_for_the_change(small_catalogue, pairs):
    relations = small_catalogue.relations.set_index(["reference", "target", "relation"])
    for it in pairs:
        row = relations.loc[(it.reference, it.target, it.relation)]
        assert it.keyword == row["target_term"]
        assert it.relative_caption in list_relative_captions(it.relation, row["reference_term"], row["target_term"])
        assert it.reference_caption != it.target_caption
        if it.relation != "style":
            assert it.target_caption == small_catalogue.pictures.at[it.target, "caption"]


def test_the_style_is_named_only_where_it_changes(pairs):
    for it in pairs:
        named = "openmoji" in it.target_caption.lower() or "twemoji" in it.target_caption.lower()
        assert named == (it.relation == "style")


def test_keys_are_unique_and_number_each_split(pairs):
    for split in ("train", "validation"):
        keys = [it.key for it in pairs if it.split == split]
        assert keys == [f"{split}-{number:08d}" for number in range(len(keys))]


def test_pairs_of_a_concept_are_neighbours(small_catalogue, pairs):
    concepts = [(it.split, small_catalogue.pictures.at[it.reference, "concept"]) for it in pairs]
    changes = sum(before != after for before, after in itertools.pairwise(concepts))
    assert changes == len(set(concepts)) - 1


def test_the_same_seed_gives_the_same_pairs_and_another_other_words(small_catalogue, pairs):
    assert list_caption_pairs(small_catalogue, make_edits_params()) == pairs
    others = list_caption_pairs(small_catalogue, make_edits_params(seed=18))
    assert [it.relative_caption for it in others] != [it.relative_caption for it in pairs]
    assert [dataclasses.replace(it, relative_caption="") for it in others] == [
        dataclasses.replace(it, relative_caption="") for it in pairs
    ]


def test_several_relative_captions_of_a_pair_differ(small_catalogue, pairs):
    several = list_caption_pairs(small_catalogue, make_edits_params(captions_per_pair=3))
    assert len(several) == 3 * len(pairs)
    assert len({(it.reference, it.target, it.relation, it.relative_caption) for it in several}) == len(several)
    assert len({it.key for it in several}) == len(several)


def test_a_capped_relation_keeps_all_its_concepts(small_catalogue):
    def concepts(pairs):
        concept_of = small_catalogue.pictures["concept"]
        return {concept_of[it.reference] for it in pairs if it.split == "train" and it.relation == "skin_tone"}

    everything = list_caption_pairs(small_catalogue, make_edits_params())
    capped = list_caption_pairs(small_catalogue, make_edits_params(max_pairs_per_relation=len(concepts(everything))))
    assert concepts(capped) == concepts(everything)
    assert sum(it.split == "train" and it.relation == "skin_tone" for it in capped) == len(concepts(everything))
