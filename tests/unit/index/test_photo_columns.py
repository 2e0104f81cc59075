"""What photographs say of themselves as columns: filtered by, found by words, kept and read anew."""

import os
import shutil

import pandas as pd
import pytest
from factories import draw_noise, draw_patches
from PIL import Image
from worlds.album import add, build

from compodiff.errors import InputInvalid
from compodiff.index import INSIDE, metadata
from compodiff.index.filters import Filters
from compodiff.index.index import Index
from compodiff.index.places import name_places
from compodiff.search.words import WrittenWords
from compodiff.serving.facets import list_facets

SIDECAR = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="{stars}"
 xmlns:dc="http://purl.org/dc/elements/1.1/" dc:description="{text}"/></rdf:RDF></x:xmpmeta>"""


def _save(path, number, taken="", model="", place=()):
    exif = Image.Exif()
    own = exif.get_ifd(0x8769)
    if taken:
        own[0x9003], own[0x9011] = taken, "+02:00"
    if model:
        exif[0x010F], exif[0x0110], own[0xA434] = "Google", model, "a lens of apple"
    if place:
        exif.get_ifd(0x8825).update({1: "N", 2: (place[0], 0.0, 0.0), 3: "E", 4: (place[1], 0.0, 0.0)})
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_patches(number).save(path, exif=exif)


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "album"
    _save(folder / "old.jpg", 0, "2019:07:14 21:05:00", "Pixel 3")
    _save(folder / "new.jpg", 1, "2023:05:06 07:08:09", "Pixel 7", (48.0, 2.0))
    _save(folder / "wide.png", 2)
    draw_noise(3, 30, 60).resize((30, 60)).save(folder / "plain.png")
    (folder / "old.xmp").write_text(SIDECAR.format(stars=5, text="fireworks"))
    return folder


def _rows(album, condition):
    table = Index.load(album / INSIDE).pictures
    return sorted(table["name"].iloc[Filters(table).find_rows(condition)])


def test_photographs_are_filtered_by_what_they_say(album, encoder):
    build(album, encoder)
    assert _rows(album, "taken >= '2023-01-01' AND camera LIKE '%Pixel%'") == ["new.jpg"]
    assert _rows(album, "taken < '2020-01-01' or year(taken) = 2023") == ["new.jpg", "old.jpg"]
    assert _rows(album, "rating = 5 and description = 'fireworks'") == ["old.jpg"]
    assert _rows(album, "latitude between 47 and 49 and zone = '+02:00'") == ["new.jpg"]
    assert _rows(album, "orientation = 'portrait'") == ["plain.png"]
    assert _rows(album, "taken is null") == ["plain.png", "wide.png"]
    kinds = {facet.name: facet.kind for facet in list_facets(Index.load(album / INSIDE).pictures)}
    assert kinds["taken"] == "date"
    assert not {"sidecar", "zone", "description"} & kinds.keys()


def test_words_find_what_people_wrote_and_not_what_a_camera_is_called(album, encoder):
    build(album, encoder)
    words = WrittenWords(Index.load(album / INSIDE).pictures)
    assert [match.places for match in words.find("fireworks").values()] == [("description",)]
    assert words.find("google apple landscape") == {}


def test_files_that_are_known_are_not_read_again_but_for_another_sidecar(album, encoder, monkeypatch):
    build(album, encoder)
    read = []
    monkeypatch.setattr(metadata, "read_facts", lambda path: read.append(path.name) or metadata.PhotoFacts())
    before = Index.load(album / INSIDE).pictures
    build(album, encoder)
    assert read == []
    pd.testing.assert_frame_equal(Index.load(album / INSIDE).pictures, before)
    (album / "old.xmp").write_text(SIDECAR.format(stars=2, text="rain"))
    os.utime(album / "old.xmp", (1, 1))
    shutil.copy(album / "new.jpg", album / "copy.jpg")
    build(album, encoder)
    assert read == ["old.jpg"]
    table = Index.load(album / INSIDE).pictures.set_index("name")
    assert (table["rating"]["old.jpg"], table["description"]["old.jpg"]) == (2, "rain")
    assert table["camera"]["copy.jpg"] == "Google Pixel 7"


def test_an_index_of_an_earlier_make_gets_the_columns_with_the_next_build(album, encoder, monkeypatch):
    with monkeypatch.context() as earlier:
        empty = lambda folder, names, *_: pd.DataFrame({"folder": [""] * len(names)})  # noqa: E731
        earlier.setattr(metadata, "read_metadata", empty)
        build(album, encoder)
    draw_patches(9).save(album / "later.png")
    add(album, encoder, album / "later.png")
    assert _rows(album, "taken is not null") == []
    build(album, encoder)
    assert _rows(album, "taken is not null") == ["new.jpg", "old.jpg"]


def test_a_column_of_ones_own_of_the_same_name_is_refused_also_where_it_was_kept(album, encoder, tmp_path, monkeypatch):
    (tmp_path / "own.csv").write_text("path,Rating\nold.jpg,3\n")
    with pytest.raises(InputInvalid, match=r"the column Rating of .* is one that the index has already; rename it"):
        build(album, encoder, columns=tmp_path / "own.csv")
    with monkeypatch.context() as earlier:
        earlier.setattr("compodiff.index.own_columns.COLUMNS_OF_FILES", ())
        (tmp_path / "own.csv").write_text("path,stars\nold.jpg,3\n")
        build(album, encoder, columns=tmp_path / "own.csv")
    monkeypatch.setattr("compodiff.index.own_columns.COLUMNS_OF_FILES", ("stars",))
    with pytest.raises(InputInvalid, match="the index now reads 'stars' from the pictures"):
        build(album, encoder)
    build(album, encoder, no_columns=True)


def test_a_place_is_named_by_the_nearest_town_and_an_ocean_is_not():
    pytest.importorskip("reverse_geocode")
    paris, ocean, fiji = name_places([(48.8584, 2.2945), (0.0, -30.0), (-16.8, 179.99)])
    assert paris is not None
    assert paris.endswith("France")
    assert ocean is None
    assert fiji is None or "Fiji" in fiji
    assert name_places([]) == []
