"""Words find what is written of pictures, and an answer that is a guess says so."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import draw_patches, make_index_params

from compodiff.images import list_pictures
from compodiff.index import INSIDE
from compodiff.index.folder import BuildPlan, build_folder_index
from compodiff.index.index import Index
from compodiff.search.fusing import WrittenFusion
from compodiff.search.guesses import GuessLimit
from compodiff.search.searcher import Searcher
from compodiff.search.words import WordMatch, WrittenWords, list_singulars, split_words

NAMES = ("fruit/banana.png", "fruit/guineaFowl_2.png", "pets/Café-cats.png", "pets/IMG_0007.png", "robots/toy.png")


def find_names(text: str, **columns: list[object]) -> list[str]:
    folders = [name.partition("/")[0] for name in NAMES]
    table = pd.DataFrame({"picture_id": NAMES, "name": NAMES, "path": NAMES, "folder": folders, **columns})
    matches = WrittenWords(table).find(text)
    return [NAMES[row] for row in sorted(matches, key=lambda row: -matches[row].score)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Banana", "fruit/banana.png"),
        ("the bananas", "fruit/banana.png"),
        ("guinea fowl", "fruit/guineaFowl_2.png"),
        ("guineafowls", "fruit/guineaFowl_2.png"),
        ("cafe", "pets/Café-cats.png"),
        ("a picture of a cat", "pets/Café-cats.png"),
        ("robot", "robots/toy.png"),
        ("rob", "robots/toy.png"),
        ("0007", "pets/IMG_0007.png"),
    ],
)
def test_a_word_is_found_however_it_is_written(text, found):
    assert find_names(text)[:1] == [found]


def test_a_word_in_a_name_counts_more_than_one_in_a_folder_or_a_column():
    keywords = [["toy", "yellow"], [], None, ["toy"], []]
    assert find_names("toy", keywords=keywords)[0] == "robots/toy.png"
    assert find_names("yellow", keywords=keywords) == ["fruit/banana.png"]
    assert find_names("png path") == []


def test_names_fall_into_words():
    assert split_words("IMG_12myCat-HTMLPage Straße 猫の") == [
        "img",
        "12",
        "my",
        "cat",
        "html",
        "page",
        "strasse",
        "猫",
        "の",
    ]
    assert "glass" in list_singulars("glasses")
    assert list_singulars("glass") == list_singulars("bus") == []
    assert {form for word in ("foxes", "cherries", "wolves", "knives", "mice") for form in list_singulars(word)} >= {
        "fox",
        "cherry",
        "wolf",
        "knife",
        "mouse",
    }


def test_the_order_does_not_depend_on_how_many_are_asked_for():
    """A page asks for more as it is scrolled; a picture found by its name may lie far behind the nearest."""
    cosines = {row: 1 - row / 1000 for row in range(900)}
    matches = {150: WordMatch(1.0, 0.9, ("name",)), 250: WordMatch(2.0, 1.0, ("name",)), 890: WordMatch(2.0, 1.0, ())}
    fusion = WrittenFusion(matches)
    few = {row: cosine for row, cosine in cosines.items() if row < fusion.depth or row in matches}
    assert [row for row, *_ in fusion.order(few, 10)][:200] == [row for row, *_ in fusion.order(cosines, 900)][:200]


@pytest.fixture(scope="module")
def searcher(tmp_path_factory, encoder, composer) -> Searcher:
    folder: Path = tmp_path_factory.mktemp("named")
    for number, name in enumerate(("zebra", "stripes of zebra", "red_car", "night", "boat", "house")):
        draw_patches(number).save(folder / f"{name}.png")
    build_folder_index(folder, folder / INSIDE, encoder, make_index_params(), BuildPlan(list_pictures(folder).files))
    return Searcher(composer, Index.load(folder / INSIDE))


@pytest.mark.parametrize("name", ["zebra", "red_car", "night", "boat", "house"])
def test_a_word_that_stands_in_a_name_finds_it_first(searcher, name):
    first = searcher.search(text=name.replace("_", " ") + "s", k=3)[0]
    assert first.picture_id == f"{name}.png"
    assert "name" in first.found_by


def test_names_do_not_count_beside_a_reference_nor_in_the_modes_of_one_embedding_nor_where_they_are_switched_off(
    searcher,
):
    nearest = [hit.picture_id for hit in searcher.search(text="boat", k=6, w_names=0.0)]
    cosines = [hit.score for hit in searcher.search(text="boat", k=6, w_names=0.0)]
    assert cosines == sorted(cosines, reverse=True)
    for dials in ({"reference": "zebra.png"}, {"mode": "text"}, {"w_names": 0.0}):
        assert all(hit.found_by == ("picture",) for hit in searcher.search(text="boat", k=6, **dials))
    assert {hit.picture_id for hit in searcher.search(text="boat", k=6)} == set(nearest)


def test_a_filter_and_excluded_pictures_hold_for_what_names_find(searcher):
    found = searcher.search(text="zebra", k=6, where="name not like 'stripes%'", exclude=("zebra.png",))
    assert {hit.picture_id for hit in found} == {"red_car.png", "night.png", "boat.png", "house.png"}


def test_an_answer_that_is_a_guess_says_so(searcher, composer, monkeypatch):
    limit = searcher._guesses.least_cosine
    assert -1 < limit < 1
    monkeypatch.setitem(searcher._guesses.__dict__, "least_cosine", 2.0)
    ranking = searcher.search(text="philosophy", k=2)
    assert ranking.is_guess
    assert "nothing close; these are the nearest" in ranking.notes[-1]
    assert not searcher.search(text="zebra").is_guess
    assert not searcher.search("zebra.png", "philosophy").is_guess
    assert not searcher.search(text="philosophy", less=("boat.png",)).is_guess
    monkeypatch.setitem(searcher._guesses.__dict__, "least_cosine", -2.0)
    assert not searcher.search(text="philosophy").is_guess


def test_the_limit_of_guesses_is_kept_for_the_model_and_the_index(searcher, composer, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    monkeypatch.setattr(composer, "weights", weights)
    first = GuessLimit(composer, searcher.index, None).least_cosine
    monkeypatch.setattr(GuessLimit, "_measure", lambda _: pytest.fail("measured again"))
    assert GuessLimit(composer, searcher.index, None).least_cosine == first
    assert np.isfinite(first)


def test_the_limit_of_guesses_is_measured_for_the_gallery_that_answers_are_composed_for(
    searcher, composer, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(composer, "weights", tmp_path / "model.safetensors")
    compose_all, galleries = composer.compose_all, []

    def compose_noted(queries, watch, gallery=None):
        galleries.append(gallery)
        return compose_all(queries, watch)

    monkeypatch.setattr(composer, "compose_all", compose_noted)
    for gallery in (None, 0.25, 0.25, 0.5):
        assert np.isfinite(GuessLimit(composer, searcher.index, gallery).least_cosine)
    assert galleries == [None, 0.25, 0.5]  # what is kept is another gallery's no more
    assert searcher._guesses._gallery == searcher._gallery
