import re

import numpy as np
import pytest

from compodiff.errors import InputInvalid
from compodiff.index.segments.lists import choose_lists
from compodiff.speed.indexing import IndexSizes, run
from compodiff.speed.pair_plans import PairRates, plan_pairs
from compodiff.speed.plans import MeasuredRates, Prices, plan
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


def test_a_plan_of_pairs_grows_with_them_and_says_how_it_is_known():
    rows = [
        {"figure": f"{stage}, processor seconds at 50,000 rows", "measured": 5 * number}
        for number, stage in enumerate(("import", "clean", "embed", "validate", "mix"), 1)
    ]
    found = plan_pairs(PairRates.of({"rows": rows}), Prices(), 256, gpu_rows=2000)
    told = {row["figure"]: row for row in found}
    assert told["pairs: clean, core hours"]["1e+07"] == pytest.approx(10 / 50_000 * 1e7 / 3600)
    assert told["pairs: clean, core hours"]["known"] == "computed (0.2 ms a row measured)"
    assert told["pairs: embeddings on the disk, GB"]["1e+09"] == pytest.approx(1024)
    assert told["pairs: train on each once, GPU hours"]["1e+05"] == pytest.approx(50 / 3600)
    with pytest.raises(ValueError, match="stages are missing"):
        PairRates.of({"rows": rows[1:]})


def test_a_plan_says_of_each_figure_how_it_is_known():
    rates = MeasuredRates(rows=10**6, width=256, build=100.0, size=6e8, answers=2000.0, picture=0.02)
    rows = {row["figure"]: row for row in plan(rates, Prices())}
    assert rows["disk, GB"]["1e+09"] == 600
    assert rows["encode, core hours"]["1e+05"] == pytest.approx(10**5 * 0.02 / 3600)
    assert rows["build, core hours"]["1e+07"] == pytest.approx(
        100 / 3600 * 10 * choose_lists(10**7) / choose_lists(10**6)
    )
    assert rows["queries a second and core"]["1e+09"] == pytest.approx(2000 / 1000**0.5)
    assert all({"measured", "computed", "assumed"} & set(re.findall(r"\w+", row["known"])) for row in rows.values())


def test_rates_are_read_from_what_bench_index_prints():
    figures = ("build, processor minutes", "index, GB on the disk", "queries a processor second")
    printed = {"vectors": "1,000 x 64", "rows": [{"figure": figure, "measured": 2.0} for figure in figures]}
    assert MeasuredRates.of(printed, 0.5) == MeasuredRates(1000, 64, 120.0, 2e9, 2.0, 0.5)


def test_a_folder_with_something_of_somebodys_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputInvalid, match="which compodiff did not write"):
        run(tmp_path, IndexSizes(rows=900, width=64), "flat")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
