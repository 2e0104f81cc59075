"""Which model is meant, from any folder: the one named, the index's, the project's, the installation's."""

import json
import os

import pytest

from compodiff.errors import InputInvalid
from compodiff.index import INSIDE, MANIFEST
from compodiff.project import find_index_home, find_params_file
from compodiff.search import locate
from compodiff.search.locate import CHAMPION, ChosenModel, choose_index_place, choose_model, find_index_folder
from compodiff.search.located import locate_search

BUNDLED = "compodiff-0123456789ab"


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder in no project, with a home of its own, and an installation that carries a model."""
    monkeypatch.setenv("COMPODIFF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(locate, "find_bundled_name", lambda: BUNDLED)
    folder = tmp_path / "somewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def index_made_by(folder, **made_by):
    (folder / INSIDE).mkdir(parents=True)
    (folder / INSIDE / MANIFEST).write_text(json.dumps({"made_by": made_by}))
    return folder


def test_outside_a_project_the_installation_s_model_is_the_default_and_inside_the_champion(outside, search_project):
    assert choose_model(None) == choose_model("installed") == ChosenModel(BUNDLED)
    os.chdir(search_project)
    assert choose_model(None) == ChosenModel(CHAMPION, search_project)
    assert choose_model("installed") == ChosenModel(BUNDLED)


def test_without_project_and_model_the_ways_out_are_named(outside, monkeypatch):
    monkeypatch.setattr(locate, "find_bundled_name", lambda: None)
    with pytest.raises(InputInvalid, match=r"lies in no CompoDiff project .*carries no model.*--model"):
        choose_model(None)
    assert find_params_file().name == "params.yaml"


def test_the_index_says_which_model_made_it(outside, search_project, tmp_path):
    of_project = ChosenModel(CHAMPION, search_project)
    folder = index_made_by(tmp_path / "album", **of_project.to_json())
    assert choose_model(None, folder) == choose_model(None, folder / INSIDE) == of_project
    assert choose_model("other", folder) == ChosenModel("other")
    (tmp_path / "model").mkdir()
    os.chdir(tmp_path)
    assert ChosenModel("model").to_json() == {"model": str(tmp_path / "model")}


def test_a_model_that_made_an_index_and_is_gone_is_named_with_the_way_out(outside, tmp_path):
    gone = index_made_by(tmp_path / "one", model=CHAMPION, project=str(tmp_path / "moved"))
    with pytest.raises(InputInvalid, match=r"made by models:/compodiff@champion of the project .*/moved, which is not"):
        choose_model(None, gone)
    other = index_made_by(tmp_path / "two", model="compodiff-ffffffffffff")
    with pytest.raises(InputInvalid, match="compodiff-ffffffffffff is of another release of compodiff"):
        locate.find_model_parts(choose_model(None, other))


def test_a_folder_that_cannot_be_written_has_its_index_at_home(outside, tmp_path, monkeypatch):
    album = tmp_path / "album"
    album.mkdir()
    assert choose_index_place(album) == album / INSIDE
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    place = choose_index_place(album)
    assert place == find_index_home(album)
    assert place.is_relative_to(tmp_path / "home")
    index_made_by(place.parent, model=BUNDLED)
    (place.parent / INSIDE).rename(place)
    monkeypatch.undo()
    monkeypatch.setenv("COMPODIFF_HOME", str(tmp_path / "home"))
    assert find_index_folder(album) == choose_index_place(album) == place  # where it stands, it stays


def test_a_folder_that_cannot_be_looked_up_is_named(outside, tmp_path):
    (tmp_path / "round").symlink_to(tmp_path / "round")
    for folder in (tmp_path / "round", tmp_path / "a\0b"):
        with pytest.raises(InputInvalid, match="cannot be looked up"):
            find_index_folder(folder)


def test_without_an_index_and_outside_a_project_the_demonstration_is_named(outside):
    with pytest.raises(InputInvalid, match="compodiff demo"):
        locate_search(None, None)
