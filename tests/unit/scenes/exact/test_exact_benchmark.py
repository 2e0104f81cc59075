"""The benchmark of exact edits: read by the loader that reads every `triplets` folder."""

from collections import Counter

import numpy as np
import pytest
from PIL import ImageOps

from compodiff.benchmarks.datasets.own import load_triplets
from compodiff.params import ExactEditsBenchmarkParams
from compodiff.scenes.exact.benchmark import OTHER_WORDS, write_exact_edits
from compodiff.scenes.exact.captions import BACK, list_wordings
from compodiff.scenes.exact.families import EVERY_EDIT
from compodiff.scenes.exact.photographs import PHOTOGRAPHS
from compodiff.scenes.scene import CANVAS

PARAMS = ExactEditsBenchmarkParams(recipe="exact_edits", reads="data", gate=None, seed=5, validation_pictures=2)


UNDONE = [(BACK[relation], colour) for relation, colour in EVERY_EDIT]


@pytest.fixture(scope="module")
def folder(small_catalogue, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact")
    write_exact_edits(folder, small_catalogue, PARAMS)
    return folder


@pytest.mark.parametrize(("split", "pictures"), [("validation", 2), ("test", len(PHOTOGRAPHS))])
def test_each_edit_of_each_picture_is_asked_for_and_undone(folder, split, pictures):
    (benchmark,) = load_triplets(folder, split)
    assert len({query.concept for query in benchmark.queries}) == pictures
    groups = Counter(query.groups[0] for query in benchmark.queries)
    assert groups.keys() == {*BACK, *BACK.values()} - {"ground"}
    assert groups["tint"] == groups["untint"] == 5 * pictures
    assert groups["grey"] == groups["colours"] == pictures
    assert len(benchmark.gallery) == (2 + len(PHOTOGRAPHS)) * (1 + 11 + 5)  # itself, edits without a colour, tints


def test_what_is_brighter_than_the_dark_is_the_picture_and_the_bright(folder):
    (benchmark,) = load_triplets(folder, "test")
    asked = {(query.reference, query.groups[0]): query.targets for query in benchmark.queries}
    assert asked["cat-darken", "brighten"] == ("cat-base", "cat-brighten")
    assert asked["cat-base", "brighten"] == ("cat-brighten",)
    assert asked["cat-closer", "farther"] == ("cat-base", "cat-farther")


def test_what_is_asked_in_other_words_is_the_same_and_taught_nowhere(folder):
    known, others = (load_triplets(folder, split)[0].queries for split in ("test", OTHER_WORDS))
    assert [(query.reference, query.targets, query.groups) for query in known] == [
        (query.reference, query.targets, query.groups) for query in others
    ]
    taught = {wording for asked in (*EVERY_EDIT, *UNDONE) for wording in list_wordings(*asked)}
    assert taught.isdisjoint(query.relative_caption for query in others)
    assert taught.issuperset(query.relative_caption for query in known)


def test_pictures_are_the_photographs_and_their_edits(folder):
    (benchmark,) = load_triplets(folder, "test")
    whole, mirrored = (benchmark.pictures.read(f"flower-{edit}") for edit in ("base", "mirror"))
    assert whole.size == (CANVAS, CANVAS)
    assert (np.asarray(ImageOps.mirror(whole.convert("RGB"))) == np.asarray(mirrored.convert("RGB"))).all()
