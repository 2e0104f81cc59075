"""A folder encoded by the workers of `map_shards`: the index that one process makes. One worker is this process."""

import pickle
import shutil

import numpy as np
import pytest
from factories import draw_noise, make_index_params

from compodiff.encoders import save_encoder
from compodiff.images import list_pictures
from compodiff.index import spreading
from compodiff.index.folder import BuildPlan, build_folder_index
from compodiff.index.index import Index

FLAT = make_index_params()


@pytest.fixture
def album(tmp_path):
    """Nine pictures, two of which have the same bytes, and a file that is none."""
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(8):
        draw_noise(number, 30, 20).save(folder / f"{number}.png")
    shutil.copy(folder / "7.png", folder / "8.png")
    (folder / "9.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def build(album, encoder, tmp_path, monkeypatch):
    save_encoder(encoder, tmp_path / "encoder")
    monkeypatch.setattr(spreading, "SHARD", 3)

    def build(out):
        plan = BuildPlan(list_pictures(album).files, encoder_folder=tmp_path / "encoder")
        return build_folder_index(album, tmp_path / out, encoder, FLAT, plan)

    return build


def test_workers_make_the_index_that_one_process_makes(build, album, monkeypatch):
    alone = build("alone")
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")
    spread = build("spread")
    assert spread.unreadable == alone.unreadable
    assert list(spread.unreadable) == ["9.png"]
    assert (spread.pictures, spread.encoded) == (alone.pictures, alone.encoded) == (9, 8)
    first, second = Index.load(alone.index), Index.load(spread.index)
    assert second.picture_ids == first.picture_ids
    assert second.pictures.equals(first.pictures)
    np.testing.assert_allclose(second.embeddings, first.embeddings, atol=1e-6)
    assert [path for path in album.parent.iterdir() if "parts" in path.name] == []


def test_only_what_is_new_goes_to_the_workers(build, album, monkeypatch):
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")
    build("index")
    for number in range(20, 24):
        draw_noise(number, 30, 20).save(album / f"{number}.png")
    (album / "0.png").rename(album / "moved.png")
    again = build("index")
    assert (again.pictures, again.encoded) == (13, 4)


def test_a_file_that_changes_after_a_worker_has_seen_it_is_read_again(build, album, tmp_path, monkeypatch):
    def change_first(function, items, **_):
        sent = pickle.dumps(function)  # as to a process
        for item in items:
            yield item, pickle.loads(pickle.dumps(pickle.loads(sent)(item)))  # noqa: S301
        draw_noise(99, 40, 20).save(album / "0.png")

    monkeypatch.setenv("COMPODIFF_WORKERS", "1")
    monkeypatch.setattr(spreading, "map_shards", change_first)
    build("index")
    row = Index.load(tmp_path / "index").pictures.set_index("path").loc["0.png"]
    assert (row["width"], row["length"]) == (40, (album / "0.png").stat().st_size)


def test_a_few_pictures_and_one_process_need_no_others(build, monkeypatch):
    monkeypatch.setattr(spreading, "map_shards", None)
    assert build("index").encoded == 8
    monkeypatch.setenv("COMPODIFF_WORKERS", "1")
    monkeypatch.setattr(spreading, "SHARD", 10)
    assert build("other").encoded == 8
