from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from factories import change_parts, compute_cosines, make_encoder_manifest, make_index_params
from hypothesis import given, settings
from hypothesis import strategies as st

from compodiff.errors import IndexMismatch, InputInvalid
from compodiff.index.index import NO_PICTURE, Index, build
from compodiff.index.manifest import list_damaged_files

ENCODER = make_encoder_manifest()


def _clustered(count: int, dim: int, seed: int) -> np.ndarray:
    """Vectors around a few centres, as embeddings lie; of lengths between 1 and 20."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((max(2, count // 40), dim))
    vectors = centres[generator.integers(len(centres), size=count)] + 0.4 * generator.standard_normal((count, dim))
    return (vectors * generator.uniform(1, 5, size=(count, 1))).astype(np.float32)


def _built(folder, embeddings, **params):
    pictures = pd.DataFrame({"picture_id": [f"picture-{row}" for row in range(len(embeddings))]})
    encoder = replace(ENCODER, picture=replace(ENCODER.picture, embedding_dim=embeddings.shape[1]))
    build(
        folder,
        embeddings=embeddings,
        pictures=pictures,
        encoder=encoder,
        params=make_index_params(**params),
        pictures_root="..",
    )
    return Index.load(folder)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 60),
    dim=st.integers(1, 24),
    k=st.integers(1, 70),
    batch=st.integers(1, 4),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_flat_equals_brute_force_without_the_excluded(tmp_path_factory, count, dim, k, batch, seed, data):
    embeddings, queries = _clustered(count, dim, seed), _clustered(batch, dim, seed + 1)
    index = _built(tmp_path_factory.mktemp("index"), embeddings)
    excluded = [data.draw(st.sets(st.integers(0, count - 1), max_size=3)) for _ in range(batch)]
    rows, scores = index.search(queries, k, exclude=[[index.picture_ids[row] for row in out] for out in excluded])

    assert rows.shape == scores.shape == (batch, min(k, count))
    for found, found_scores, out, cosines in zip(
        rows, scores, excluded, compute_cosines(queries, embeddings), strict=True
    ):
        cosines[list(out)] = -np.inf
        best = np.sort(cosines)[::-1][: min(k, count)]
        assert not out & set(found.tolist())
        np.testing.assert_allclose(found_scores, best, atol=2e-6)
        real = found[found != NO_PICTURE]
        assert len(set(real.tolist())) == len(real) == min(k, count - len(out))
        np.testing.assert_allclose(cosines[real], found_scores[: len(real)], atol=2e-6)


@pytest.mark.parametrize(("kind", "rerank", "floor"), [("ivf_sq8", 0, 0.9), ("ivf_sq8", 4, 0.95), ("ivf_pq", 8, 0.9)])
def test_inverted_lists_find_nearly_all_of_the_true_ten(tmp_path, kind, rerank, floor):
    embeddings, queries = _clustered(3000, 32, 5), _clustered(100, 32, 6)
    queries = embeddings[::30] + 0.3 * queries
    index = _built(tmp_path / "index", embeddings, kind=kind, lists=32, probes=12, code_bytes=8, rerank=rerank)
    rows, scores = index.search(queries, 10)
    cosines = compute_cosines(queries, embeddings)
    truth = np.argsort(-cosines, axis=1)[:, :10]
    recall = np.mean([len(set(found) & set(true)) / 10 for found, true in zip(rows, truth, strict=True)])
    assert recall >= floor
    if rerank:
        np.testing.assert_allclose(scores, np.take_along_axis(cosines, rows, axis=1), atol=2e-6)


@pytest.mark.parametrize("kind", ["flat", "ivf_sq8", "ivf_pq"])
def test_building_twice_gives_the_same_bytes(tmp_path, kind):
    embeddings = _clustered(300, 16, 1)
    for name in ("first", "second"):
        _built(tmp_path / name, embeddings, kind=kind)
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name


def test_an_open_index_survives_its_replacement(tmp_path):
    old, new = _clustered(20, 8, 1), _clustered(30, 8, 2)
    opened = _built(tmp_path / "index", old)
    replaced = _built(tmp_path / "index", new)
    assert opened.search(old[3:4], 1)[0].item() == replaced.search(new[3:4], 1)[0].item() == 3
    np.testing.assert_array_equal(opened.read_embedding("picture-7"), old[7])
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_failed_build_leaves_the_earlier_index(tmp_path):
    embeddings = _clustered(20, 8, 1)
    _built(tmp_path / "index", embeddings)
    spoilt = embeddings.copy()
    spoilt[4, 2] = np.nan
    with pytest.raises(InputInvalid, match="not finite"):
        _built(tmp_path / "index", spoilt)
    assert Index.load(tmp_path / "index").manifest.count == 20
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize("name", ["index.faiss", "embeddings.npy", "pictures.parquet"])
def test_a_truncated_file_is_named(tmp_path, name):
    _built(tmp_path, _clustered(50, 8, 1))
    with (tmp_path / name).open("r+b") as file:
        file.truncate(100)
    with pytest.raises(IndexMismatch, match=rf"is damaged: {name} has 100 bytes of \d+; remove the folder and build"):
        Index.load(tmp_path)


def test_a_file_that_is_gone_is_named(tmp_path):
    _built(tmp_path, _clustered(50, 8, 1))
    (tmp_path / "index.faiss").unlink()
    with pytest.raises(IndexMismatch, match=r"index\.faiss has 0 bytes"):
        Index.load(tmp_path)


def test_bytes_that_changed_are_found(tmp_path):
    index = _built(tmp_path, _clustered(50, 8, 1))
    assert list_damaged_files(tmp_path) == []
    path = tmp_path / "embeddings.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert list_damaged_files(index.folder) == ["embeddings.npy"]


def test_bytes_that_are_no_index_are_an_error_not_a_crash(tmp_path):
    _built(tmp_path, _clustered(50, 8, 1))
    path = tmp_path / "index.faiss"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(IndexMismatch, match=r"FAISS cannot read index\.faiss"):
        Index.load(tmp_path)


def test_a_missing_index_names_the_command(tmp_path):
    with pytest.raises(InputInvalid, match=r"there is no index at .*; run: compodiff index build"):
        Index.load(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ['{"kind": "flat"}', '{"encoder": {"name": "old"}}', "[]", "{"])
def test_a_manifest_of_another_version_is_named(tmp_path, content):
    _built(tmp_path, _clustered(50, 8, 1))
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(IndexMismatch, match="not a manifest of this version"):
        Index.load(tmp_path)


def test_another_encoder_is_refused_with_the_way_out(tmp_path):
    index = _built(tmp_path, _clustered(50, 16, 1))
    index.require_encoder(ENCODER)
    with pytest.raises(
        IndexMismatch, match=r"16-d vectors of tiny \(0{8}\).* of tiny \(1{8}\); run: compodiff index build"
    ):
        index.require_encoder(change_parts(ENCODER, weights_digest="1" * 64))


def test_queries_that_cannot_be_answered_are_refused(tmp_path):
    index = _built(tmp_path, _clustered(50, 16, 1))
    with pytest.raises(InputInvalid, match="k is 0"):
        index.search(_clustered(1, 16, 1), 0)
    with pytest.raises(IndexMismatch, match="is 16 wide"):
        index.search(_clustered(1, 8, 1), 5)
    with pytest.raises(InputInvalid, match="not finite"):
        index.search(np.full((1, 16), np.inf, dtype=np.float32), 5)
    with pytest.raises(InputInvalid, match="holds no picture 'elsewhere'"):
        index.read_embedding("elsewhere")


@pytest.mark.parametrize(("kind", "message"), [("ivf_sq8", "needs 100 pictures"), ("ivf_pq", "needs 256 pictures")])
def test_a_gallery_too_small_for_the_kind_is_refused(tmp_path, kind, message):
    with pytest.raises(InputInvalid, match=f"{message}, there are 50; set it to flat"):
        _built(tmp_path / "index", _clustered(50, 16, 1), kind=kind, lists=100)
    assert not (tmp_path / "index").exists()


def test_codes_that_do_not_divide_the_width_are_refused(tmp_path):
    with pytest.raises(InputInvalid, match="code_bytes is 5, which does not divide the width 16"):
        _built(tmp_path / "index", _clustered(300, 16, 1), kind="ivf_pq", code_bytes=5)


def test_ids_must_be_unique_and_as_many_as_vectors(tmp_path):
    for ids in (["a", "a"], ["a"], []):
        with pytest.raises(InputInvalid, match="unique picture_id per vector"):
            build(
                tmp_path / "index",
                embeddings=np.ones((len(ids) and 2, 16), dtype=np.float32),
                pictures=pd.DataFrame({"picture_id": ids}),
                encoder=ENCODER,
                params=make_index_params(),
                pictures_root="..",
            )
