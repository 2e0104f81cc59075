"""The same is asked of a flat index and of one at size, some of whose pictures were taken out."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from factories import draw_patches, make_index_params
from fastapi.testclient import TestClient
from worlds.search import places_in

from compodiff.errors import InputInvalid
from compodiff.index.index import Index
from compodiff.index.segments.building import SegmentPlan, remove_rows
from compodiff.index.segments.making import VectorsToIndex, index_vectors
from compodiff.search.naming import find_reference
from compodiff.serving.api import create_app
from compodiff.serving.champion import Champion

GONE, LEFT = {"0.png", "12.png"}, {f"{number}.png" for number in range(30)} - {"0.png", "12.png"}


def _index_album(folder, encoder, kind):
    """Write an index over 30 pictures, of which GONE are no longer: of the flat one they never were."""
    (folder / "album").mkdir()
    names = [f"{number}.png" for number in range(30) if kind != "flat" or f"{number}.png" not in GONE]
    pictures = [draw_patches(int(name.removesuffix(".png"))) for name in names]
    for name, picture in zip(names, pictures, strict=True):
        picture.save(folder / "album" / name)
    (folder / "vectors").mkdir()
    np.save(folder / "vectors" / "x.npy", encoder.encode_images(pictures).cpu().numpy())
    table = pd.DataFrame({"picture_id": names, "path": names})
    table.assign(rare=["yes" if name in GONE else "no" for name in names]).to_parquet(folder / "vectors" / "x.parquet")
    plan = SegmentPlan(kind, lists=2, pictures_root=str(folder / "album"))
    index_vectors(folder / "index", VectorsToIndex(folder / "vectors", encoder.manifest, plan), make_index_params())
    if kind != "flat":
        remove_rows(folder / "index", sorted(GONE))


@pytest.fixture(params=["flat", "ivf_rabitq"])
def champion(request, search_project, tmp_path):
    places = places_in(search_project / "artifacts")
    encoder = Champion(lambda: places).live.searcher.composer.encoder
    _index_album(tmp_path, encoder, request.param)
    served = replace(places, index=tmp_path / "index", pictures_root=None)
    return Champion(lambda: served)  # which asks for the first picture that is there


def test_pictures_that_were_taken_out_are_nowhere(champion):
    with TestClient(create_app(champion, refresh_seconds=600)) as client:
        assert client.get("/pictures", params={"limit": 100}).json()["count"] == len(LEFT)
        for part, named in (("12", set()), ("2.PNG", {"2.png", "22.png"}), ("PNG", LEFT)):
            listed = client.get("/pictures", params={"contains": part, "limit": 100}).json()
            assert {picture["picture_id"] for picture in listed["pictures"]} == named
            assert listed["count"] == len(named)
        shown = client.get("/openings").json()["pictures"]
        assert shown
        assert {picture["picture_id"] for picture in shown} <= LEFT
        assert [client.get(picture["thumbnail"]).status_code for picture in shown] == [200] * len(shown)
        assert "rare" not in {facet["name"] for facet in client.get("/facets").json()["facets"]}


@pytest.mark.parametrize("condition", ["rare = 'yes'", "rare = 'never'"])
def test_a_filter_that_matches_nothing_that_is_there_finds_nothing(champion, condition):
    with TestClient(create_app(champion, refresh_seconds=600)) as client:
        for asked in ({"text": "red"}, {"reference_id": "3.png", "text": "red"}):
            answer = client.post("/search", data={**asked, "filter": condition})
            assert (answer.status_code, answer.json()["results"]) == (200, [])


def test_rows_and_samples_are_of_what_is_there(champion):
    index: Index = champion.live.searcher.index
    rows = index.list_rows()
    assert {index.picture_ids[row] for row in rows} == set(index.row) == LEFT
    np.testing.assert_array_equal(index.sample_vectors(), index.embeddings[np.array(rows)])
    assert set(index.read_sample()["picture_id"]) == LEFT
    assert index.embeddings[np.array([], np.int64)].shape == (0, index.manifest.dim)
    with pytest.raises(InputInvalid, match=r"whose ids look like 1\.png"):
        find_reference("%%%%", index)
