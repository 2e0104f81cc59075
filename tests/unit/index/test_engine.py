"""Vectors in Milvus, in its embedded form: the same pictures, filters and scores as the index's own lists give."""

import shutil

import numpy as np
import pytest
from worlds.shards import WIDTH, make_wide_manifest, write_vectors

from compodiff.errors import IndexMismatch, InputInvalid, ResourceUnavailable
from compodiff.index.filters import Filters
from compodiff.index.index import NO_PICTURE, Index
from compodiff.index.segments import engine
from compodiff.index.segments.building import SegmentPlan, build_segments
from compodiff.index.segments.engine import NearestInMilvus, send_to_engine
from compodiff.index.segments.making import VectorsToIndex, index_vectors, remove_pictures
from compodiff.index.segments.sources import list_shards

pymilvus = pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")
ENCODER = make_wide_manifest()
PLAN = SegmentPlan("ivf_rabitq", lists=4, recall=0.99)


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """An index that an engine searches, its vectors, and the engine's address."""
    folder = tmp_path_factory.mktemp("engine")
    vectors = write_vectors(folder / "shards", 0)
    build_segments(folder / "index", list_shards(folder / "shards", WIDTH), ENCODER, PLAN)
    address = str(folder / "engine.db")
    send_to_engine(folder / "index", address)
    return folder, vectors, address


def test_it_finds_the_same_with_the_same_scores_and_filters(sent, monkeypatch):
    folder, vectors, _ = sent
    behind, own = Index.load(folder / "index"), Index.load(folder / "index", engine=False)
    rows, scores = behind.search(vectors[::30], 10)
    ours, ours_scores = own.search(vectors[::30], 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows.tolist(), ours.tolist(), strict=True)]) >= 0.95
    np.testing.assert_allclose(scores[:, 0], ours_scores[:, 0], atol=1e-6)
    allowed = Filters(behind.pictures, behind.rows.files).find_rows("size % 3 = 0")
    exact, _ = behind.search(vectors[:4], 8, allowed=allowed)
    monkeypatch.setattr("compodiff.index.index._SCORED_AT_ONCE", 10)
    named, _ = behind.search(vectors[:4], 8, allowed=allowed)
    monkeypatch.setattr(engine, "_NAMED", 10)
    dropped, _ = behind.search(vectors[:4], 8, allowed=allowed)
    assert exact.tolist() == named.tolist() == dropped.tolist()


def test_what_is_added_and_removed_is_so_in_the_engine(sent, tmp_path):
    folder, vectors, _ = sent
    shutil.copytree(folder / "index", tmp_path / "index")
    address = str(tmp_path / "own.db")
    send_to_engine(tmp_path / "index", address)
    more = write_vectors(tmp_path / "more", 1, 50)
    index_vectors(tmp_path / "index", VectorsToIndex(tmp_path / "more", ENCODER, PLAN, adds=True), None)
    remove_pictures(tmp_path / "index", ["0/0003.jpg"])
    index = Index.load(tmp_path / "index")
    rows, _ = index.search(np.concatenate([vectors[[3]], more[[7]]]), 349)
    assert 3 not in rows
    assert rows[1, 0] == 307
    assert (index.manifest.count, index._nearest.size) == (349, 349)


def test_an_engine_that_cannot_be_used_is_named(sent, tmp_path, monkeypatch):
    folder, _, address = sent
    monkeypatch.setattr(engine, "_SECONDS", 0.5)
    with pytest.raises(ResourceUnavailable, match=r"the engine at http://127\.0\.0\.1:9 does not answer"):
        NearestInMilvus("http://127.0.0.1:9", "any", WIDTH)
    with pytest.raises(InputInvalid, match=r"'http://127\.0\.0\.1:99999' is no address of an engine"):
        NearestInMilvus("http://127.0.0.1:99999", "any", WIDTH)
    with pytest.raises(IndexMismatch, match="holds no collection other of this index and its encoder"):
        NearestInMilvus(address, "other", WIDTH)
    name = Index.load(folder / "index").described.engine["collection"]
    with pytest.raises(IndexMismatch, match=f"is {WIDTH} wide, the index 8"):
        NearestInMilvus(address, name, 8)
    monkeypatch.setattr(pymilvus.MilvusClient, "get_server_version", lambda _: "v1.1.0")
    with pytest.raises(IndexMismatch, match=r"is Milvus v1\.1\.0; 2\.x or 3\.x is needed"):
        NearestInMilvus(address, name, WIDTH)


def test_an_engine_that_lacks_rows_is_not_searched(sent, tmp_path):
    folder, _, _ = sent
    shutil.copytree(folder / "index", tmp_path / "index")
    nearest = Index.load(tmp_path / "index")._nearest
    nearest.remove(np.array([5]))
    with pytest.raises(IndexMismatch, match="holds 299 of the 300 vectors"):
        Index.load(tmp_path / "index")
    described = Index.load(tmp_path / "index", engine=False)
    nearest.add(5, described.embeddings[[5]] / np.linalg.norm(described.embeddings[5]))
    assert NO_PICTURE not in Index.load(tmp_path / "index").search(described.embeddings[[5]], 3)[0]


def test_an_index_in_memory_is_not_sent(tmp_path):
    write_vectors(tmp_path / "shards", 0, 20)
    from factories import make_index_params

    asked = VectorsToIndex(tmp_path / "shards", ENCODER, SegmentPlan("flat"))
    index_vectors(tmp_path / "index", asked, make_index_params())
    with pytest.raises(InputInvalid, match="is not made of segments"):
        send_to_engine(tmp_path / "index", str(tmp_path / "none.db"))
