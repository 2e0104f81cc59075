"""Pictures of an index that look the same share one place, in whatever order they came."""

import shutil

import numpy as np
import pandas as pd
import pytest
from factories import draw_patches
from PIL import Image
from worlds.album import PARAMS, add, build

from compodiff.images import list_pictures
from compodiff.index import INSIDE, duplicates
from compodiff.index import folder as folder_module
from compodiff.index.duplicates import NEW
from compodiff.index.folder import remove_from_index
from compodiff.index.index import Index
from compodiff.search.query import Query
from compodiff.search.searcher import Searcher


def test_the_same_picture_saved_otherwise_shares_its_place(album, encoder, composer):
    draw_patches(1).save(album / "copy.jpg", quality=90)
    draw_patches(1).resize((32, 24), Image.Resampling.BOX).save(album / "small.webp", lossless=True)
    build(album, encoder)
    index = Index.load(album / INSIDE)
    groups = dict(zip(index.picture_ids, index.pictures["group"], strict=True))
    alike = {"a/1.png", "copy.jpg", "small.webp"}
    assert {each for each, group in groups.items() if group == groups["a/1.png"]} == alike
    assert all(group == each for each, group in groups.items() if each not in alike)

    hits = Searcher(composer, index).answer(Query(None, "a", k=20))
    assert len(hits) == 8
    (together,) = (hit for hit in hits if hit.picture_id in alike)
    assert {together.picture_id, *together.duplicates} == alike
    found = Searcher(composer, index).answer(Query("copy.jpg", "a", k=20))
    assert alike.isdisjoint(hit.picture_id for hit in found)

    remove_from_index(album, album / INSIDE, PARAMS, ["a/1.png"])
    index = Index.load(album / INSIDE)
    groups = dict(zip(index.picture_ids, index.pictures["group"], strict=True))
    assert groups["copy.jpg"] == groups["small.webp"] == "copy.jpg"
    draw_patches(1).save(album / "again.png")
    add(album, encoder, album / "again.png")
    index = Index.load(album / INSIDE)
    groups = dict(zip(index.picture_ids, index.pictures["group"], strict=True))
    assert groups["again.png"] == groups["copy.jpg"] == groups["small.webp"] == "again.png"


@pytest.mark.parametrize("seed", range(4))
def test_groups_that_grew_are_those_of_an_index_made_at_once(album, encoder, seed):
    """Pictures and saved-again ones come and go; whatever was compared before, the groups are the same."""
    generator = np.random.default_rng(seed)
    build(album, encoder)
    for _ in range(4):
        for number in generator.integers(0, 12, 3).tolist():
            size = (int(generator.integers(40, 80)), 48)
            draw_patches(number).resize(size).save(album / f"{number} {size[0]}.jpg", quality=90)
        gone = generator.choice(sorted(list_pictures(album).files), 2, replace=False)
        for path in gone:
            path.unlink()
        build(album, encoder)
    grown = Index.load(album / INSIDE).pictures
    shutil.rmtree(album / INSIDE)
    build(album, encoder)
    whole = Index.load(album / INSIDE).pictures
    pd.testing.assert_frame_equal(grown, whole)
    assert whole["group"].nunique() < len(whole)


def test_a_chain_joins_only_what_looks_like_its_first(album, encoder):
    """One is like the second, the second like the third, the first not like the third."""
    for name, grey in (("x", 100), ("y", 120), ("z", 140)):
        Image.new("RGB", (32, 32), (grey, grey, grey)).save(album / f"{name}.png")
    params = PARAMS.model_copy(update={"duplicate_cosine": -1.0})  # by their looks alone

    def groups():
        table = Index.load(album / INSIDE).pictures
        return dict(zip(table["picture_id"], table["group"], strict=True))

    build(album, encoder, params=params)
    assert (groups()["x.png"], groups()["y.png"], groups()["z.png"]) == ("x.png", "x.png", "z.png")
    remove_from_index(album, album / INSIDE, params, ["x.png"])
    assert (groups()["y.png"], groups()["z.png"]) == ("y.png", "y.png")
    add(album, encoder, album / "x.png", params=params)
    assert (groups()["x.png"], groups()["y.png"], groups()["z.png"]) == ("x.png", "x.png", "z.png")
    add(album, encoder, album / "y.png", params=PARAMS)  # another cosine: all are compared again
    assert (groups()["x.png"], groups()["y.png"], groups()["z.png"]) == ("x.png", "x.png", "z.png")


def test_only_what_is_new_is_compared(album, encoder, monkeypatch):
    build(album, encoder)
    compared = []

    def group_duplicates(embeddings, looks, known, *more):
        compared.append(int((known == NEW).sum()))
        return duplicates.group_duplicates(embeddings, looks, known, *more)

    monkeypatch.setattr(folder_module, "group_duplicates", group_duplicates)
    draw_patches(20).save(album / "20.png")
    build(album, encoder)
    draw_patches(21).save(album / "21.png")
    add(album, encoder, album / "21.png")
    remove_from_index(album, album / INSIDE, PARAMS, ["20.png"])
    assert compared == [1, 1, 0]
