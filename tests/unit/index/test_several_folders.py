"""An index over several folders, with patterns of what is passed over, that stay with it."""

import numpy as np
import pytest
from factories import draw_noise, draw_patches
from worlds.album import PARAMS, draw_album

from compodiff.errors import InputInvalid
from compodiff.images import PictureTable
from compodiff.index.comparing import compare_folder, count_values
from compodiff.index.folder import BuildPlan, build_folder_index, remove_from_index
from compodiff.index.index import Index
from compodiff.index.sources import Sources


def _build(sources, out, encoder, **how):
    listing = sources.list_pictures()
    return build_folder_index(
        sources.root, out, encoder, PARAMS, BuildPlan(listing.files, listing, sources=sources, **how)
    )


@pytest.fixture
def disks(tmp_path):
    """Two folders of pictures on what may be two disks, the second also reached by a link in the first."""
    draw_album(tmp_path / "disk" / "one")
    (tmp_path / "nas" / "two").mkdir(parents=True)
    draw_patches(20).save(tmp_path / "nas" / "two" / "a.png")
    draw_patches(21).save(tmp_path / "nas" / "aside.png")
    (tmp_path / "disk" / "one" / "link").symlink_to(tmp_path / "nas" / "two")
    return [tmp_path / "disk" / "one", tmp_path / "nas" / "two"]


def test_several_folders_are_one_index_that_names_each_picture_once(disks, tmp_path, encoder):
    sources = Sources.join([*disks, disks[0] / "a", disks[1]])
    assert (sources.root, sources.folders) == (tmp_path, ("disk/one/", "nas/two/"))
    out = tmp_path / "indexes" / "all"
    assert _build(sources, out, encoder).pictures == 9
    index = Index.load(out)
    assert index.picture_ids[0] == "disk/one/a/1.png"
    assert "nas/two/a.png" in index.picture_ids
    pictures = PictureTable(out / index.manifest.pictures_root, index.pictures)
    assert np.array_equal(np.asarray(pictures.read("nas/two/a.png")), np.asarray(draw_patches(20)))
    again = Sources.read_beside(out, tmp_path)
    assert again == sources
    assert all(again.hold(folder) for folder in disks)
    assert not again.hold(tmp_path / "nas")
    draw_noise(1, 64, 64).save(disks[1] / "new.png")
    assert compare_folder(out, tmp_path).added == ["nas/two/new.png"]
    remove_from_index(tmp_path, out, PARAMS, ["nas/two/a.png"])
    assert Sources.read_beside(out, tmp_path) == sources
    with pytest.raises(InputInvalid, match=r"is also of .*one; name all its folders"):
        Sources(tmp_path, ("nas/two/", "third/")).require_those_of(again, out)


def test_patterns_stay_with_an_index_until_others_are_given(tmp_path, encoder):
    album = draw_album(tmp_path / "album")
    sources, out = Sources.join([album]), album / ".compodiff"
    _build(sources.exclude(["b/", "3.png"]), out, encoder)
    assert Index.load(out).picture_ids == ["a/1.png", "a/5.png", "a/7.png"]
    kept = Sources.read_beside(out, album)
    assert kept.patterns == ("b/", "3.png")
    assert compare_folder(out, album).added == []
    remove_from_index(album, out, PARAMS, ["a/1.png"])
    assert Sources.read_beside(out, album) == kept
    assert _build(kept.exclude(()), out, encoder).pictures == 8
    assert Sources.read_beside(out, album).patterns == ()


def test_columns_are_counted_by_what_pictures_say(tmp_path, encoder):
    album = draw_album(tmp_path / "album")
    (album / "a" / "1.txt").write_text("a caption")
    _build(Sources.join([album]), tmp_path / "index", encoder)
    counts = count_values(tmp_path / "index", album)
    assert {name: counts[name] for name in ("name", "caption", "orientation")} == {
        "name": 8,
        "caption": 1,
        "orientation": 8,
    }
    assert "taken" not in counts
