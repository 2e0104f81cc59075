import numpy as np

from compodiff.speed.indexing import IndexSizes, run
from compodiff.speed.vectors import draw_shard


def test_made_vectors_lie_as_real_ones_do_and_the_same_again():
    vectors, queries = draw_shard(3, 3000, 256, 50)
    again, _ = draw_shard(3, 3000, 256, 50)
    np.testing.assert_array_equal(vectors, again)
    assert not np.array_equal(vectors, draw_shard(4, 3000, 256)[0])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit[:200] @ unit.T
    cosines[np.arange(200), np.arange(200)] = -1
    assert 0.12 < cosines[cosines > -1].std() < 0.18
    assert 0.7 < np.sort(cosines, axis=1)[:, -1].mean() < 0.85
    assert queries.shape == (50, 256)


def test_an_index_is_measured_step_by_step(tmp_path, monkeypatch):
    monkeypatch.setattr("compodiff.speed.indexing.run_apart", lambda function, *given: function(*given))
    measured = run(tmp_path, IndexSizes(rows=900, width=64, shard_rows=500, added=100), "ivf_sq8")
    rows = {row["figure"]: row for row in measured["rows"]}
    assert rows["recall@10"]["measured"] > 0.9
    assert rows["add 100, seconds"]["verdict"] == "holds"
    assert sorted(file.name for file in (tmp_path / "shards").glob("*.npy")) == ["shard-00000.npy", "shard-00001.npy"]
