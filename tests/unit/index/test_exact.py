"""Exact search of many queries finds what products in float32 find, whatever bfloat16 does to the vectors."""

from dataclasses import replace

import faiss
import numpy as np
import pandas as pd
import pytest
from factories import make_encoder_manifest, make_index_params
from hypothesis import given, settings
from hypothesis import strategies as st

from compodiff.errors import InputInvalid
from compodiff.index import exact
from compodiff.index.exact import NearestSoFar, pays
from compodiff.index.index import NO_PICTURE, Index, build
from compodiff.index.nearest import FaissFile, normalise
from compodiff.index.segments.lists import find_exactly
from compodiff.index.segments.vectors import StoredVectors
from compodiff.speed.exact_search import run

LOWEST = 2.0**-8 * 0.99  # what rounding to bfloat16 takes off 1 + LOWEST, almost the most that it ever does


def _find(queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    nearest = NearestSoFar(queries, k)
    nearest.add(0, vectors)
    return nearest.get()


def _require_exact(queries: np.ndarray, vectors: np.ndarray, k: int) -> None:
    """Compare with FAISS, and with sums in float64: rows whose scores float32 cannot tell apart are equals."""
    scores, rows = _find(queries, vectors, k)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    flat, _ = index.search(queries, k)
    there = min(k, len(vectors))
    assert scores.shape == rows.shape == (len(queries), k)
    assert (rows[:, there:] == NO_PICTURE).all()
    rows, scores, flat = rows[:, :there], scores[:, :there], flat[:, :there]
    norms = np.linalg.norm(queries.astype(float), axis=1)[:, None] * np.linalg.norm(vectors.astype(float), axis=1)
    slack = vectors.shape[1] * 2.0**-23 * norms.max(axis=1, keepdims=True) + 1e-30
    products = queries.astype(float) @ vectors.astype(float).T
    assert all(len(set(own)) == there for own in rows.tolist())
    assert (np.abs(np.take_along_axis(products, rows, axis=1) - scores) <= slack).all()
    assert (np.abs(flat - scores) <= slack).all()
    assert (np.diff(scores, axis=1) <= 0).all()


def _draw(kind: str, count: int, width: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    vectors = normalise(generator.standard_normal((count, width)))
    if kind in ("clustered", "nearly equal"):
        centres = vectors[: max(1, count // 500)]
        spread = 0.3 if kind == "clustered" else 1e-4
        vectors = normalise(centres[generator.integers(len(centres), size=count)] + spread * vectors)
    if kind == "duplicated":
        vectors = vectors[generator.integers(max(1, count // 50), size=count)]
    if kind == "of any length":
        vectors *= np.exp2(generator.integers(-20, 20, size=(count, 1))).astype(np.float32)
    if kind == "huge":
        vectors *= np.float32(1e17)
    if kind == "tiny":
        vectors *= np.float32(1e-36)
    if kind == "zero here and there":
        vectors[generator.random(count) < 0.5] = 0
    if kind == "far away":
        vectors = -np.abs(vectors)
    return vectors


KINDS = (
    *("random", "clustered", "nearly equal", "duplicated", "of any length", "huge", "tiny"),
    *("zero here and there", "far away"),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 10])
def test_equals_the_flat_index(kind, k):
    vectors = _draw(kind, 9001, 48, 1)
    queries = np.concatenate([vectors[:7], _draw("random", 530, 48, 2), np.zeros((1, 48), np.float32)])
    _require_exact(queries, vectors, k)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    count=st.integers(1, 700),
    width=st.integers(1, 40),
    asked=st.integers(1, 9),
    k=st.integers(1, 12),
    seed=st.integers(0, 2**31),
    share=st.sampled_from([1, 8, 128]),
)
def test_equals_the_flat_index_in_small_blocks(kind, count, width, asked, k, seed, share):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_QUERIES_AT_ONCE", 4), ("_ROWS_AT_ONCE", 100), ("_FIRST_ROWS", 16), ("_SHARE", share)):
            patch.setattr(exact, name, value)
        _require_exact(_draw("random", asked, width, seed + 1), _draw(kind, count, width, seed), k)


@pytest.mark.parametrize(("number_of_query", "last_of_second"), [(1.0, 0.8359375), (1 + LOWEST, 0.75)])
def test_a_row_is_found_that_rounding_puts_behind_another(number_of_query, last_of_second):
    """All that bfloat16 drops counts: the best row seems worse by nearly as much as the bound allows."""
    width = 64
    query, best, second = np.ones((3, width), np.float32)
    query[:-1], best[:-1], best[-1], second[-1] = number_of_query, 1 + LOWEST, 0.6015625, last_of_second
    others = np.random.default_rng(3).standard_normal((4000, width)).astype(np.float32) * np.float32(0.01)
    vectors = np.concatenate([others[:600], second[None], others[600:], best[None]])
    assert np.argsort(vectors @ query)[-2:].tolist() == [600, 4001]
    assert _find(query[None], vectors, 1)[1].tolist() == [[4001]]


def test_few_rows_are_scored_in_float32(monkeypatch):
    """Else it is exact and no faster than FAISS."""
    vectors, queries = _draw("clustered", 30_000, 64, 4), _draw("clustered", 30_000, 64, 4)[:20]
    pairs, keep_best = [], exact._Part._keep_best
    monkeypatch.setattr(exact._Part, "_keep_best", lambda *given: (pairs.append(len(given[1])), keep_best(*given))[1])
    _require_exact(queries, vectors, 10)
    assert sum(pairs) < 20 * 10 * 20


def _build(folder, vectors):
    encoder = make_encoder_manifest()
    encoder = replace(encoder, picture=replace(encoder.picture, embedding_dim=vectors.shape[1]))
    pictures = pd.DataFrame({"picture_id": [f"{row}" for row in range(len(vectors))]})
    params = make_index_params(flat_up_to=len(vectors))
    build(folder, embeddings=vectors, pictures=pictures, encoder=encoder, params=params, pictures_root="..")
    return Index.load(folder)


def test_a_flat_index_is_searched_by_it_where_bfloat16_is_fast(tmp_path, monkeypatch):
    vectors = _draw("clustered", 6000, 16, 5) * np.float32(3)
    index, used = _build(tmp_path / "index", vectors), []
    get = NearestSoFar.get
    monkeypatch.setattr(NearestSoFar, "get", lambda self: (used.append(1), get(self))[1])
    found = {}
    for is_fast in (False, True):
        monkeypatch.setattr(exact, "_multiplies_fast", lambda is_fast=is_fast: is_fast)
        found[is_fast] = index.search(vectors[:16], 2, exclude=[["0"]] * 16)
        assert len(used) == is_fast
    np.testing.assert_array_equal(found[True][0], found[False][0])
    np.testing.assert_allclose(found[True][1], found[False][1], atol=1e-6)
    for queries, k, allowed in ((15, 3, None), (16, 4, None), (16, 3, np.arange(5990))):
        FaissFile(tmp_path / "index" / "index.faiss", "flat").search(normalise(vectors[:queries]), k, allowed)
    assert len(used) == 1
    with pytest.raises(InputInvalid, match="not finite"):
        index.search(np.full((16, 16), np.nan, np.float32), 2)


def test_all_vectors_of_files_are_compared_by_it(tmp_path, monkeypatch):
    vectors = _draw("clustered", 5000, 16, 6).astype(np.float16)
    files = [tmp_path / "0.npy", tmp_path / "1.npy"]
    np.save(files[0], vectors[:1300])
    np.save(files[1], vectors[1300:])
    stored, queries = StoredVectors(files, [1300, 3700], 16), _draw("random", 17, 16, 7)
    found = []
    for is_fast in (False, True):
        monkeypatch.setattr(exact, "_multiplies_fast", lambda is_fast=is_fast: is_fast)
        found.append(find_exactly(queries, stored, 2))
    np.testing.assert_array_equal(*found)


def test_it_pays_for_enough_queries_and_rows_where_bfloat16_is_fast(monkeypatch):
    monkeypatch.setattr(exact, "_multiplies_fast", lambda: True)
    assert pays(16, 20_000, 10)
    assert not pays(15, 20_000, 10)
    assert not pays(16, 19_999, 10)
    monkeypatch.setattr(exact, "_multiplies_fast", lambda: False)
    assert not pays(512, 10**6, 10)


def test_both_ways_are_measured_and_agree():
    rows = {row["figure"]: row for row in run(2000, 32, 20, 1)["rows"]}
    assert rows["share of the same rows"]["verdict"] == rows["largest difference of scores"]["verdict"] == "holds"
    assert rows["times as fast as FAISS flat"]["measured"] == pytest.approx(
        rows["FAISS flat, seconds"]["measured"] / rows["exact search, seconds"]["measured"]
    )
