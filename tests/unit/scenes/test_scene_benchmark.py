"""The scenes benchmark: read by the loader that reads every `triplets` folder."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from compodiff.benchmarks.datasets.own import load_triplets
from compodiff.catalogue.emoji_benchmark import read_queries
from compodiff.images import read_picture
from compodiff.params import SceneQueries, ScenesBenchmarkParams
from compodiff.scenes.benchmark import write_scenes
from compodiff.scenes.captions import SCENE_RELATIONS
from compodiff.scenes.scene import CANVAS, MASK_SIZE

PARAMS = ScenesBenchmarkParams(
    recipe="scenes",
    reads="data",
    gate=None,
    seed=5,
    families=SceneQueries(validation=4, test=6),
    edits_per_relation=2,
)


@pytest.fixture(scope="module")
def folder(small_catalogue, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, small_catalogue, PARAMS)
    return folder


@pytest.mark.parametrize(("split", "families"), [("validation", 4), ("test", 6)])
def test_it_loads_as_a_triplets_folder_with_every_group(folder, split, families):
    (benchmark,) = load_triplets(folder, split)
    groups = Counter(query.groups[0] for query in benchmark.queries)
    assert groups.keys() == {*SCENE_RELATIONS, "negative", "masked"}
    assert groups["negative"] == groups["remove"]
    assert groups["masked"] == groups["replace"]
    assert len({query.concept for query in benchmark.queries}) == families
    first = benchmark.queries[0]
    assert benchmark.pictures.read(first.reference).size == (CANVAS, CANVAS)


def test_negative_text_and_masks_are_where_they_are_meant(folder):
    for query in read_queries(folder, "test"):
        assert bool(query.negative) == (query.group == "negative")
        assert bool(query.mask) == (query.group == "masked")
        if query.negative:
            assert query.negative in query.relative_caption


def test_a_mask_covers_what_differs(folder):
    (benchmark,) = load_triplets(folder, "test")
    for query in (query for query in benchmark.queries if query.mask):
        cells = np.asarray(read_picture(folder / query.mask).convert("L")) > 127
        assert cells.shape == (MASK_SIZE, MASK_SIZE)
        ends = [np.asarray(benchmark.pictures.read(name)) for name in (query.reference, query.targets[0])]
        places = np.arange(CANVAS) * MASK_SIZE // CANVAS
        outside = ~cells[np.ix_(places, places)]
        assert (ends[0][outside] == ends[1][outside]).all()
        assert (ends[0] != ends[1]).any()


def test_the_gallery_holds_the_references_other_edits(folder):
    gallery = set(load_triplets(folder, "test")[0].gallery)
    of_family = defaultdict(set)
    for query in read_queries(folder, "test"):
        of_family[query.concept] |= {query.reference, *query.targets}
    assert set.union(*of_family.values()) <= gallery
    assert min(map(len, of_family.values())) > 6


def test_the_same_inputs_give_the_same_bytes(folder, small_catalogue, tmp_path):
    (tmp_path / "scenes").mkdir()
    write_scenes(tmp_path / "scenes", small_catalogue, PARAMS)
    for path in folder.rglob("*.*"):
        assert (tmp_path / "scenes" / path.relative_to(folder)).read_bytes() == path.read_bytes()
