"""One writer at a time and in its own folder, while others read whole indexes."""

import fcntl
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from factories import draw_patches
from worlds.album import PARAMS, add, build

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.images import list_pictures
from compodiff.index import INSIDE
from compodiff.index.comparing import compare_folder
from compodiff.index.folder import BuildPlan, build_folder_index, remove_from_index
from compodiff.index.index import Index


def test_an_index_of_another_folder_is_refused_by_everything_that_reads_or_writes_it(album, encoder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(album, other)
    out = tmp_path / "index"
    build_folder_index(album, out, encoder, PARAMS, BuildPlan(list_pictures(album).files))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for what in (
        lambda: build_folder_index(other, out, encoder, PARAMS, BuildPlan(list_pictures(other).files)),
        lambda: build_folder_index(other, out, encoder, PARAMS, BuildPlan([other / "a" / "1.png"], keep=True)),
        lambda: remove_from_index(other, out, PARAMS, ["a/1.png"]),
        lambda: compare_folder(out, other),
    ):
        with pytest.raises(InputInvalid, match=rf"the index {out} is of the folder {album}, not of {other}; name"):
            what()
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_that_was_moved_with_its_index_goes_on(album, encoder):
    build(album, encoder)
    moved = album.rename(album.with_name("moved"))
    assert build(moved, encoder).encoded == 0
    remove_from_index(moved, moved / INSIDE, PARAMS, ["a/1.png"])
    assert compare_folder(moved / INSIDE, moved).added == ["a/1.png"]


def test_a_second_writer_is_refused_while_the_first_is_at_work(album, encoder):
    build(album, encoder)
    descriptor = os.open(album, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        for write in (
            lambda: build(album, encoder),
            lambda: remove_from_index(album, album / INSIDE, PARAMS, ["a/1.png"]),
        ):
            with pytest.raises(ResourceUnavailable, match="another compodiff index is writing"):
                write()
        assert Index.load(album / INSIDE).manifest.count == 8
    finally:
        os.close(descriptor)
    assert build(album, encoder).pictures == 8


def test_readers_see_a_whole_index_while_it_is_replaced(album, encoder, tmp_path):
    """Two indexes of different sizes take turns; whatever is opened is one of them, never a mixture."""
    build(album, encoder)
    draw_patches(20).save(album / "20.png")

    def opened(_):
        index = Index.load(album / INSIDE)
        assert len(index.pictures) == len(index.embeddings) == index.manifest.count == index._nearest.size
        return index.manifest.count

    with ThreadPoolExecutor(3) as pool:
        counts = pool.map(opened, range(300))
        for _ in range(6):
            add(album, encoder, album / "20.png")
            remove_from_index(album, album / INSIDE, PARAMS, ["20.png"])
        assert set(counts) <= {8, 9}


def test_an_index_between_two_renames_is_waited_for(album, encoder):
    build(album, encoder)
    index, retired = album / INSIDE, album / f".{INSIDE}.{os.getpid()}.compodiff-retired"
    index.rename(retired)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Index.load, index)
        assert not waiting.done()
        shutil.copytree(retired, index)
        assert waiting.result(5).manifest.count == 8
    shutil.rmtree(index)
    shutil.rmtree(retired)
    with pytest.raises(InputInvalid, match="there is no index"):
        Index.load(index)
