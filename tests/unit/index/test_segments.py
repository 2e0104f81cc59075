"""An index at size: built from shards, searched, filtered, grown and thinned without a rewrite."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import faiss
import numpy as np
import pandas as pd
import pytest
from factories import compute_cosines, make_index_params
from worlds.shards import WIDTH, make_wide_manifest, write_vectors

from compodiff.errors import EncoderMismatch, IndexMismatch, InputInvalid, ResourceUnavailable
from compodiff.index.filters import Filters
from compodiff.index.index import NO_PICTURE, Index
from compodiff.index.manifest import list_damaged_files, read_manifest
from compodiff.index.segments import building
from compodiff.index.segments.building import SegmentPlan, add_segment, build_segments, remove_rows
from compodiff.index.segments.lists import train
from compodiff.index.segments.making import VectorsToIndex, index_vectors
from compodiff.index.segments.sources import list_shards
from compodiff.storage.atomic import write_json

ENCODER = make_wide_manifest()
PLAN = SegmentPlan("ivf_rabitq", lists=8, recall=0.99)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two shards, their vectors, and an index over them."""
    folder = tmp_path_factory.mktemp("segments")
    vectors = np.concatenate([write_vectors(folder / "shards", number) for number in (0, 1)])
    build_segments(folder / "index", list_shards(folder / "shards", WIDTH), ENCODER, PLAN)
    return folder, vectors


@pytest.fixture
def grown(made, tmp_path):
    """A copy that another shard is added to, and all vectors."""
    folder, vectors = made
    shutil.copytree(folder / "index", tmp_path / "index")
    more = write_vectors(tmp_path / "more", 2)
    add_segment(tmp_path / "index", list_shards(tmp_path / "more", WIDTH), ENCODER)
    return tmp_path / "index", np.concatenate([vectors, more])


def _find_best(queries, vectors, k):
    return np.argsort(-compute_cosines(queries, vectors), axis=1)[:, :k]


def _measure_recall(found, best):
    return np.mean([len(set(ours) & set(exact)) / len(exact) for ours, exact in zip(found.tolist(), best, strict=True)])


@pytest.mark.parametrize(("width", "bits"), [(16, 8), (64, 4), (100, 3), (256, 1), (768, 1)])
def test_narrow_vectors_have_more_bits_a_dimension(tmp_path, width, bits):
    train("ivf_rabitq", 2, np.random.default_rng(0).standard_normal((100, width), np.float32), tmp_path / "trained")
    assert faiss.read_index(str(tmp_path / "trained")).code_size >= bits * width / 8


def test_it_finds_what_comparing_all_finds_and_says_how_well(made):
    folder, vectors = made
    index = Index.load(folder / "index")
    rows, scores = index.search(vectors[::40], 10)
    assert _measure_recall(rows, _find_best(vectors[::40], vectors, 10).tolist()) >= 0.97
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-3)
    assert index.manifest.kind == "ivf_rabitq"
    assert index.described.measured["recall_at_10"] >= 0.99
    assert index.described.measured["milliseconds"] > 0
    assert list_damaged_files(folder / "index") == []
    assert not (folder / "index.parts").exists()


def test_rows_ids_and_vectors_are_those_of_the_shards(made):
    folder, vectors = made
    index = Index.load(folder / "index")
    assert index.picture_ids[301] == "1/0001.jpg"
    assert index.picture_ids[299:301] == ["0/0299.jpg", "1/0000.jpg"]
    assert index.row["1/0001.jpg"] == 301
    assert "2/0001.jpg" not in index.row
    np.testing.assert_array_equal(index.read_embedding("1/0001.jpg"), vectors[301])
    np.testing.assert_array_equal(index.embeddings[250:350, 3:5], vectors[250:350, 3:5])
    assert index.rows.read([301, 2])["caption"].tolist() == ["picture 1", "picture 2"]


def test_it_grows_by_a_segment_and_nothing_else_is_rewritten(made, grown):
    folder, vectors = grown
    old = made[0] / "index" / "segments" / "00000" / "lists.faiss"
    index = Index.load(folder)
    assert (index.manifest.count, index.row["2/0007.jpg"]) == (900, 607)
    assert (folder / "segments" / "00000" / "lists.faiss").read_bytes() == old.read_bytes()
    rows, _ = index.search(vectors[5::60], 10)
    assert _measure_recall(rows, _find_best(vectors[5::60], vectors, 10).tolist()) >= 0.9


def test_what_is_removed_is_found_no_more_and_may_come_back(grown, tmp_path):
    folder, vectors = grown
    remove_rows(folder, ["2/0007.jpg"])
    remove_rows(folder, ["0/0003.jpg"])
    index = Index.load(folder)
    assert index.manifest.count == len(index.row) == 898
    assert "2/0007.jpg" not in index.row
    rows, _ = index.search(vectors[[607, 3]], 900)
    assert not {3, 607} & set(rows.ravel().tolist())
    rows, _ = index.search(vectors[[607]], 3, allowed=np.array([3, 4, 607]))
    assert rows.tolist() == [[4]]
    assert sorted(file.name for file in folder.glob("removed-*")) == ["removed-00002.npy"]
    again = pd.DataFrame({"picture_id": ["2/0007.jpg"]})
    (tmp_path / "again").mkdir()
    again.to_parquet(tmp_path / "again" / "x.parquet")
    np.save(tmp_path / "again" / "x.npy", vectors[607:608])
    add_segment(folder, list_shards(tmp_path / "again", WIDTH), ENCODER)
    assert Index.load(folder).row["2/0007.jpg"] == 900


def test_a_filter_reads_parquet_and_leaves_its_rows_only(grown):
    folder, vectors = grown
    index = Index.load(folder)
    filters = Filters(index.pictures, index.rows.files)
    assert filters.find_rows("size < 2").tolist() == [0, 1, 300, 301, 600, 601]
    assert "row#" not in filters.columns
    with pytest.raises(InputInvalid, match="does not fit"):
        filters.find_rows("height > 2")
    allowed = filters.find_rows("caption like '%1'")
    rows, _ = index.search(vectors[:5], 4, allowed=allowed)
    assert rows.tolist() == allowed[_find_best(vectors[:5], vectors[allowed], 4)].tolist()


def test_a_large_filter_goes_through_the_lists(grown, monkeypatch):
    folder, vectors = grown
    monkeypatch.setattr("compodiff.index.index._SCORED_AT_ONCE", 10)
    remove_rows(folder, ["1/0000.jpg"])
    allowed = np.arange(0, 900, 3)
    rows, _ = Index.load(folder).search(vectors[::90], 5, allowed=allowed)
    assert not set(rows.ravel().tolist()) - set(allowed.tolist()) - {NO_PICTURE}
    assert 300 not in rows
    left = allowed[allowed != 300]
    assert _measure_recall(rows, left[_find_best(vectors[::90], vectors[left], 5)].tolist()) >= 0.9


def test_a_build_that_was_killed_goes_on(tmp_path, monkeypatch):
    for number in (0, 1):
        write_vectors(tmp_path / "shards", number)
    shards, coded, fill = list_shards(tmp_path / "shards", WIDTH), [], building.fill

    def die_on_the_second(trained, chunks, first, to):
        if coded:
            raise KeyboardInterrupt
        coded.append(first)
        fill(trained, chunks, first, to)

    monkeypatch.setattr(building, "fill", die_on_the_second)
    with pytest.raises(KeyboardInterrupt):
        build_segments(tmp_path / "index", shards, ENCODER, PLAN)
    assert not (tmp_path / "index").exists()
    monkeypatch.setattr(
        building, "fill", lambda trained, chunks, first, to: fill(trained, chunks, coded.append(first) or first, to)
    )
    assert build_segments(tmp_path / "index", shards, ENCODER, PLAN).count == 600
    assert coded == [0, 300]  # the first shard was coded once


def test_a_full_disk_while_merging_costs_nothing_that_was_coded(tmp_path, monkeypatch):
    write_vectors(tmp_path / "shards", 0)
    shards = list_shards(tmp_path / "shards", WIDTH)

    def fill_the_disk(*_):
        raise RuntimeError("Error in write: 5 != 9 (No space left on device)")

    with monkeypatch.context() as full:
        full.setattr(building, "merge", fill_the_disk)
        with pytest.raises(ResourceUnavailable, match="no space left on the disk"):
            build_segments(tmp_path / "index", shards, ENCODER, PLAN)
    monkeypatch.setattr(building, "fill", None)  # nothing is coded again
    assert build_segments(tmp_path / "index", shards, ENCODER, PLAN).count == 300


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda folder: np.save(folder / "part-1.npy", np.ones((300, 8), np.float16)), EncoderMismatch, "is 8 wide"),
        (lambda folder: np.save(folder / "part-1.npy", np.ones((9, WIDTH), np.float16)), InputInvalid, "has 9 rows"),
        (lambda folder: np.save(folder / "part-1.npy", np.ones(300, np.int64)), InputInvalid, "holds int64"),
        (lambda folder: (folder / "part-1.npy").write_bytes(b"no array"), InputInvalid, "missing or damaged"),
        (lambda folder: (folder / "part-1.parquet").write_bytes(b"no table"), InputInvalid, "not parquet"),
        (shutil.rmtree, InputInvalid, "holds no arrays"),
    ],
)
def test_a_shard_that_cannot_be_used_is_named(tmp_path, spoil, error, message):
    for number in (0, 1):
        write_vectors(tmp_path / "shards", number)
    spoil(tmp_path / "shards")
    with pytest.raises(error, match=message):
        list_shards(tmp_path / "shards", WIDTH)


def test_a_value_that_is_not_finite_names_its_shard(tmp_path):
    vectors = write_vectors(tmp_path / "shards", 0)
    write_vectors(tmp_path / "shards", 1)
    vectors[7, 3] = np.inf
    np.save(tmp_path / "shards" / "part-0.npy", vectors)
    with pytest.raises(InputInvalid, match=r"part-0\.npy: an embedding holds a value that is not finite"):
        build_segments(tmp_path / "index", list_shards(tmp_path / "shards", WIDTH), ENCODER, SegmentPlan("ivf_sq8", 1))


def test_ids_that_repeat_are_refused(tmp_path, grown):
    write_vectors(tmp_path / "shards", 0)
    for suffix in ("npy", "parquet"):
        shutil.copy(tmp_path / "shards" / f"part-0.{suffix}", tmp_path / "shards" / f"part-9.{suffix}")
    with pytest.raises(InputInvalid, match="is given twice"):
        build_segments(tmp_path / "other", list_shards(tmp_path / "shards", WIDTH), ENCODER, PLAN)
    with pytest.raises(InputInvalid, match=r"holds '2/0000\.jpg' already"):
        add_segment(grown[0], list_shards(tmp_path / "more", WIDTH), ENCODER)
    assert Index.load(grown[0]).manifest.count == 900


def test_removal_of_what_is_not_there_or_of_all_is_refused(made):
    folder, _ = made
    with pytest.raises(InputInvalid, match="holds no picture 'nothing'"):
        remove_rows(folder / "index", ["0/0001.jpg", "nothing"])
    with pytest.raises(InputInvalid, match="nothing would be left"):
        remove_rows(folder / "index", list(Index.load(folder / "index").row))


def test_few_vectors_are_indexed_exactly_and_grow_into_segments(tmp_path):
    folder = tmp_path / "laion"
    vectors = write_vectors(tmp_path / "flat", 0)
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    shutil.move(tmp_path / "flat" / "part-0.npy", folder / "img_emb" / "img_emb_0.npy")
    shutil.move(tmp_path / "flat" / "part-0.parquet", folder / "metadata" / "metadata_0.parquet")
    params = make_index_params(flat_up_to=400, kind="ivf_sq8")
    asked = VectorsToIndex(
        folder, ENCODER, SegmentPlan("auto", lists=4, pictures_root="/pictures", made_by={"model": "mine"})
    )
    assert index_vectors(tmp_path / "index", asked, params).kind == "flat"
    index = Index.load(tmp_path / "index")
    rows, _ = index.search(vectors[:9], 10)
    assert rows.tolist() == _find_best(vectors[:9], vectors, 10).tolist()
    write_vectors(tmp_path / "more", 1)
    more = VectorsToIndex(
        tmp_path / "more", ENCODER, SegmentPlan("auto", lists=4, pictures_root="/pictures"), adds=True
    )
    assert index_vectors(tmp_path / "index", more, params).kind == "ivf_sq8"
    grown = read_manifest(tmp_path / "index")
    assert (grown.pictures_root, grown.made_by) == ("/pictures", {"model": "mine"})
    assert Index.load(tmp_path / "index").row["1/0002.jpg"] == 302
    other = VectorsToIndex(tmp_path / "more", make_wide_manifest(8), asked.plan, adds=True)
    with pytest.raises(EncoderMismatch, match="is 64 wide"):
        index_vectors(tmp_path / "index", other, params)


def test_more_probes_than_lists_are_all_lists(made, tmp_path):
    folder, vectors = made
    shutil.copytree(folder / "index", tmp_path / "index")
    manifest = read_manifest(tmp_path / "index")
    greedy = replace(manifest, rerank=99, segments=replace(manifest.segments, probes=1000))
    write_json(tmp_path / "index" / "manifest.json", greedy.to_json())
    rows, _ = Index.load(tmp_path / "index").search(vectors[:20], 10)
    assert rows.tolist() == _find_best(vectors[:20], vectors, 10).tolist()


def test_a_gpu_that_cannot_be_used_is_said_and_done_without(tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("Error: CUDA driver version is insufficient")

    monkeypatch.setattr("faiss.get_num_gpus", lambda: 1)
    monkeypatch.setattr("faiss.GpuMultipleClonerOptions", SimpleNamespace, raising=False)
    monkeypatch.setattr("faiss.index_cpu_to_all_gpus", fail)
    write_vectors(tmp_path / "shards", 0)
    build_segments(tmp_path / "index", list_shards(tmp_path / "shards", WIDTH), ENCODER, PLAN)
    assert "the GPUs cannot be used (Error: CUDA driver version is insufficient)" in caplog.text
    assert Index.load(tmp_path / "index").manifest.count == 300


def test_lists_that_are_cut_short_are_damage(grown):
    folder, _ = grown
    lists = folder / "segments" / "00001" / "lists.faiss"
    lists.write_bytes(lists.read_bytes()[:-9])
    with pytest.raises(IndexMismatch, match=r"00001/lists\.faiss has \d+ bytes"):
        Index.load(folder)
