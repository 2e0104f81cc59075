"""A folder that is indexed while it is searched: a step at a time, and on from where it was killed."""

import shutil

import pytest
from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.index.index import Index
from compodiff.search.locate import ChosenModel
from compodiff.serving import indexing
from compodiff.serving.indexing import FolderIndexer

PICTURES = 11


@pytest.fixture
def album(tmp_path, monkeypatch, search_project):
    monkeypatch.chdir(search_project)
    monkeypatch.setattr(indexing, "FIRST", 3)
    folder = tmp_path / "album"
    folder.mkdir()
    for place in range(PICTURES):
        Image.new("RGB", (12, 12), (20 * place, 0, 200 - 10 * place)).save(folder / f"{place:02}.png")
    return folder


@pytest.fixture
def told():
    return []


def indexer(album, told):
    def tell(message, progress):
        told.append((message, progress))

    return FolderIndexer(album, album / ".compodiff", ChosenModel("artifacts"), tell)


def names(album):
    return sorted(Index.load(album / ".compodiff").picture_ids)


def test_the_first_pictures_are_found_before_the_rest_and_the_rest_comes(album, told):
    work = indexer(album, told)
    work.begin()
    assert names(album) == ["00.png", "01.png", "02.png"]
    assert told[-1][0].startswith("indexing: 3 of 11 pictures, about ")
    work.run()
    assert len(names(album)) == PICTURES
    assert told[-1] == ("", 1.0)
    steps = [progress for _, progress in told[:-1]]
    assert 0 < min(steps) <= max(steps) < 1


def test_one_that_was_killed_goes_on_and_what_is_new_or_changed_or_gone_is_picked_up(album, told):
    indexer(album, told).begin()  # and its process ends here
    before = Index.load(album / ".compodiff").pictures.set_index("picture_id")["sha256"]
    Image.new("RGB", (12, 12), "green").save(album / "00.png")
    Image.new("RGB", (12, 12), "white").save(album / "new.png")
    (album / "01.png").unlink()
    work = indexer(album, told)
    work.begin()
    work.run()
    assert names(album) == sorted({"new.png", *(f"{place:02}.png" for place in range(PICTURES))} - {"01.png"})
    after = Index.load(album / ".compodiff").pictures.set_index("picture_id")["sha256"]
    assert after["00.png"] != before["00.png"]
    assert after["02.png"] == before["02.png"]


def test_the_index_says_the_model_and_where_nothing_changed_it_stays(album, told, search_project, monkeypatch):
    monkeypatch.setattr(indexing, "FIRST", PICTURES)
    work = indexer(album, told)
    work.begin()
    manifest = Index.load(album / ".compodiff").manifest
    assert manifest.made_by == {"model": str(search_project / "artifacts")}


def test_first_files_that_cannot_be_read_do_not_end_it_and_only_such_do(album, told, tmp_path):
    for name in ("00.png", "01.png", "02.png"):
        (album / name).write_bytes(b"no picture")
    indexer(album, told).begin()
    assert names(album) == ["03.png", "04.png", "05.png"]
    shutil.rmtree(album / ".compodiff")
    for path in album.glob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(InputInvalid, match="nothing is left to index"):
        indexer(album, told).begin()


def test_a_fault_on_the_way_is_told_and_ends_nothing(album, told):
    work = indexer(album, told)
    work.begin()
    shutil.rmtree(album / ".compodiff")
    work.run()
    assert told[-1][0].startswith("indexing has stopped: there is no index at ")


def test_whatever_stops_the_thread_is_told(album, told, monkeypatch):
    work = indexer(album, told)
    work.begin()
    monkeypatch.setattr(work, "_build", lambda _: next(iter([])))
    work.run()
    assert told[-1] == ("indexing has stopped: StopIteration", 1.0)
