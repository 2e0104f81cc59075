"""No concept crosses splits, and related pictures differ in one attribute alone."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compodiff.catalogue.names import Emoji, name_codepoints, parse_emoji
from compodiff.catalogue.pictures import Catalogue
from compodiff.catalogue.relations import find_changes
from compodiff.catalogue.splits import connect_concepts, split_concepts
from compodiff.params import DataParams

concepts = st.text("abcdefgh", min_size=1, max_size=2)


@pytest.fixture(scope="module")
def emoji() -> list[Emoji]:
    return parse_emoji(name_codepoints())


@given(st.lists(st.tuples(concepts, st.integers(0, 20))))
def test_concepts_that_share_a_look_share_a_group(pairs: list[tuple[str, int]]) -> None:
    groups = connect_concepts(pairs)
    by_look = defaultdict(set)
    for concept, look in pairs:
        by_look[look].add(groups[concept])
    assert all(len(group) == 1 for group in by_look.values())
    assert all(groups[group] == group for group in groups.values())


@given(st.dictionaries(concepts, st.sampled_from("xyz"), min_size=1), st.integers(0, 2**63 - 1), st.data())
def test_splits_keep_groups_whole_and_each_stratum_in_proportion(
    strata: dict[str, str], seed: int, data: st.DataObject
) -> None:
    train, validation = (data.draw(st.floats(0.05, 0.45)) for _ in range(2))
    params = DataParams(seed=seed, picture_size=1, train_fraction=1 - train - validation, validation_fraction=train)
    groups = {name + suffix: name for name in strata for suffix in ("", "'")}
    splits = split_concepts(groups, strata, params)
    assert all(splits[name] == splits[f"{name}'"] for name in strata)
    for stratum in set(strata.values()):
        members = [name for name in strata if strata[name] == stratum]
        test = sum(splits[name] == "test" for name in members)
        assert abs(test - len(members) * validation) <= 0.5 + 1e-6


def test_no_concept_and_no_picture_crosses_splits(small_catalogue: Catalogue) -> None:
    pictures = small_catalogue.pictures
    assert set(pictures["split"]) == {"train", "validation", "test"}
    assert (pictures.groupby("concept")["split"].nunique() == 1).all()
    assert (pictures.groupby("pixel_digest")["split"].nunique() == 1).all()


def test_ends_of_a_relation_share_a_split_and_differ_in_pixels(small_catalogue: Catalogue) -> None:
    pictures, relations = small_catalogue.pictures, small_catalogue.relations
    for end in ("reference", "target"):
        assert (pictures["split"].loc[relations[end]].to_numpy() == relations["split"].to_numpy()).all()
    looks = [pictures["pixel_digest"].loc[relations[end]].to_numpy() for end in ("reference", "target")]
    assert (looks[0] != looks[1]).all()
    assert not relations.duplicated(["reference", "target", "relation"]).any()
    styles = [pictures["style"].loc[relations[end]].to_numpy() for end in ("reference", "target")]
    np.testing.assert_array_equal(styles[0] != styles[1], relations["relation"] == "style")


def test_related_emoji_differ_in_that_attribute_alone(emoji: list[Emoji]) -> None:
    changes = find_changes(emoji)
    assert {relation for *_, relation in changes} == {
        "skin_tone", "gender", "hair", "colour", "direction", "clock_time", "cat_face",
    }  # fmt: skip
    for reference, target, relation in changes:
        assert reference.base == target.base
        differing = {
            attribute
            for attribute in {*reference.attributes, *target.attributes}
            if reference.attributes.get(attribute) != target.attributes.get(attribute)
        }
        assert differing == {relation}
        assert relation == "clock_time" or reference.concept == target.concept


def test_a_caption_decides_between_all_targets_of_a_reference(emoji: list[Emoji]) -> None:
    wanted: dict[tuple[str, str, str], set[tuple[str, frozenset[tuple[str, str]]]]] = defaultdict(set)
    for reference, target, relation in find_changes(emoji):
        look = (target.base, frozenset(target.attributes.items()))
        wanted[reference.codepoints, relation, target.attributes[relation]].add(look)
    assert all(len(targets) == 1 for targets in wanted.values())
