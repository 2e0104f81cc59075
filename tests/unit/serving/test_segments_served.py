"""An index at size is searched, filtered and served like any other, and a server takes up what is added to it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import draw_patches
from fastapi.testclient import TestClient
from worlds.search import places_in

from compodiff.index.segments.building import SegmentPlan, add_segment, build_segments, remove_rows
from compodiff.index.segments.sources import list_shards
from compodiff.search.searcher import Searcher
from compodiff.serving.api import create_app
from compodiff.serving.champion import Champion


def _write_shard(folder: Path, album: Path, numbers: range, encoder) -> None:
    folder.mkdir()
    pictures = [draw_patches(number) for number in numbers]
    for number, picture in zip(numbers, pictures, strict=True):
        picture.save(album / f"{number}.png")
    np.save(folder / "x.npy", encoder.encode_images(pictures).cpu().numpy())
    paths = [f"{number}.png" for number in numbers]
    table = pd.DataFrame({"picture_id": paths, "path": paths, "size": list(numbers)})
    table.to_parquet(folder / "x.parquet")


@pytest.fixture
def places(search_project, tmp_path):
    """A model, and an index of segments over pictures that its encoder embedded."""
    places = places_in(search_project / "artifacts")
    encoder = Champion(lambda: places).live.searcher.composer.encoder
    (tmp_path / "album").mkdir()
    _write_shard(tmp_path / "shards", tmp_path / "album", range(30), encoder)
    plan = SegmentPlan("ivf_rabitq", lists=2, pictures_root=str(tmp_path / "album"))
    width = encoder.manifest.embedding_dim
    build_segments(tmp_path / "index", list_shards(tmp_path / "shards", width), encoder.manifest, plan)
    return replace(places, index=tmp_path / "index", pictures_root=None), encoder


def test_it_is_searched_and_served_and_what_is_added_is_taken_up(places, tmp_path):
    served, encoder = places
    champion = Champion(lambda: served)
    with TestClient(create_app(champion, refresh_seconds=600)) as client:
        found = client.post(
            "/search", data={"reference_id": "3.png", "text": "red", "filter": "size < 9", "k": 20}
        ).json()
        assert sorted(hit["picture_id"] for hit in found["results"]) == sorted(f"{n}.png" for n in range(9) if n != 3)
        assert found["results"][0]["metadata"]["size"] < 9
        assert client.get("/pictures/4.png").status_code == 200
        small = [client.get(f"/thumbnails/{number}.png") for number in (4, 5)]
        assert [each.status_code for each in small] == [200, 200]
        assert small[0].content != small[1].content
        assert [facet["name"] for facet in client.get("/facets").json()["facets"]] == ["size"]
        assert client.get("/model").json()["pictures"] == 30
        _write_shard(tmp_path / "more", tmp_path / "album", range(30, 34), encoder)
        add_segment(
            tmp_path / "index", list_shards(tmp_path / "more", encoder.manifest.embedding_dim), encoder.manifest
        )
        remove_rows(tmp_path / "index", ["5.png"])
        champion.refresh()
        assert champion.fault == ""
        assert client.get("/pictures").json()["count"] == 33
        listed = client.get(
            "/pictures", params={"contains": "2.PNG", "picture_id": ["2.png", "3.png", "12.png"]}
        ).json()
        assert [picture["picture_id"] for picture in listed["pictures"]] == ["2.png", "12.png"]
        found = client.post("/search", data={"text": "red", "k": 100}).json()
        assert {hit["picture_id"] for hit in found["results"]} == {f"{n}.png" for n in range(34) if n != 5}


def test_a_copy_of_a_picture_is_recognised(places, tmp_path):
    served, _ = places
    searcher = Searcher(Champion(lambda: served).live.searcher.composer, Champion(lambda: served).live.searcher.index)
    answer = searcher.search(tmp_path / "album" / "7.png", "red", k=30)
    assert answer.own == ("7.png",)
    assert len(searcher.picture_ids) == 30
