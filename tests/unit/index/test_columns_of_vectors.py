"""Vectors that are added to an index of vectors: names, columns and paths of their own tables."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import make_index_params
from worlds.shards import WIDTH, make_wide_manifest

from compodiff.errors import InputInvalid
from compodiff.index.filters import Filters
from compodiff.index.index import Index
from compodiff.index.segments.building import SegmentPlan
from compodiff.index.segments.making import VectorsToIndex, index_vectors

ENCODER, LARGE = make_wide_manifest(), 2**53 + 1
KINDS = pytest.mark.parametrize("kind", ["flat", "ivf_fp16"])


def _write(folder, name, **columns):
    folder.mkdir(exist_ok=True)
    table = pa.table(columns)
    vectors = np.random.default_rng(len(name)).standard_normal((len(table), WIDTH))
    np.save(folder / f"{name}.npy", vectors.astype(np.float16))
    pq.write_table(table, folder / f"{name}.parquet")
    return folder


def _index(out, source, kind="ivf_fp16", root="/pictures", **asked):
    plan = SegmentPlan(kind, lists=1, pictures_root=str(root))
    return index_vectors(out, VectorsToIndex(source, ENCODER, plan, **asked), make_index_params())


def _ask(index, condition):
    files = [] if index.rows is None else index.rows.files
    return [index.picture_ids[row] for row in Filters(index.pictures, files).find_rows(condition)]


def _read(index, *names):
    row = [index.row[name] for name in names]
    return index.pictures.iloc[row] if index.rows is None else index.rows.read(row)


@KINDS
def test_the_column_of_ids_is_that_of_the_added_alone(tmp_path, kind):
    _index(tmp_path / "index", _write(tmp_path / "one", "x", picture_id=["a", "b"], code=["same", "same"]), kind)
    more = _write(tmp_path / "more", "x", picture_id=["a", "b"], code=["c", "d"])
    _index(tmp_path / "index", more, kind, adds=True, id_column="code")
    assert sorted(Index.load(tmp_path / "index").row) == ["a", "b", "c", "d"]


@KINDS
def test_columns_that_only_some_have_can_be_asked_and_are_null_elsewhere(tmp_path, kind):
    first = _write(tmp_path / "one", "x", picture_id=["a", "b"], size=[1, 2])
    _write(first, "y", picture_id=["c"], colour=["red"])
    _index(tmp_path / "index", first, kind)
    _index(tmp_path / "index", _write(tmp_path / "two", "x", picture_id=["d"], year=[1999]), kind, adds=True)
    index = Index.load(tmp_path / "index")
    assert _ask(index, "size > 1") == ["b"]
    assert _ask(index, "colour = 'red'") == ["c"]
    assert _ask(index, "year < 2000") == ["d"]
    assert _ask(index, "size is null") == ["c", "d"]
    assert _read(index, "b", "d")["year"].isna().tolist() == [True, False]
    assert _read(index, "a")["year"].isna().tolist() == [True]
    assert index.read_sample()["colour"].notna().sum() == 1


@KINDS
@pytest.mark.parametrize(
    ("added", "message"),
    [
        ({"size": ["large"]}, r"column size is string in \S*two/x\.parquet and int64 in \S+; give it one type"),
        ({"SIZE": [3]}, r"column SIZE of \S*two/x\.parquet is called size in \S+; rename it"),
    ],
)
def test_a_column_of_another_kind_is_refused(tmp_path, kind, added, message):
    _index(tmp_path / "index", _write(tmp_path / "one", "x", picture_id=["a"], size=[1]), kind)
    with pytest.raises(InputInvalid, match=message):
        _index(tmp_path / "index", _write(tmp_path / "two", "x", picture_id=["b"], **added), kind, adds=True)
    assert list(Index.load(tmp_path / "index").row) == ["a"]


def test_numbers_become_those_of_the_index_where_nothing_is_lost(tmp_path):
    _index(tmp_path / "index", _write(tmp_path / "one", "x", picture_id=["a"], size=[1], none=pa.nulls(1)))
    two = _write(tmp_path / "two", "x", picture_id=["b", "c"], size=[2.0, None], none=["x", None])
    _index(tmp_path / "index", two, adds=True)
    index = Index.load(tmp_path / "index")
    assert _ask(index, "size >= 1") == ["a", "b"]
    assert _ask(index, "none = 'x'") == ["b"]
    assert _read(index, "a", "b")["size"].tolist() == [1, 2]
    with pytest.raises(InputInvalid, match=r"column size is double in \S*three/x\.parquet and int64 in the index"):
        _index(tmp_path / "index", _write(tmp_path / "three", "x", picture_id=["d"], size=[2.5]), adds=True)


@KINDS
def test_whole_numbers_stay_whole_beside_missing_ones(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("compodiff.storage.tables.ROWS_PER_GROUP", 2)  # some groups have missing ones, others have not
    numbers = [1, 2, None, LARGE, LARGE + 2, 3]
    source = _write(tmp_path / "one", "x", picture_id=list("abcdef"), number=pa.array(numbers, pa.int64()))
    _index(tmp_path / "index", source, kind)
    pictures = tmp_path / "index" / ("pictures.parquet" if kind == "flat" else "segments/00000/pictures-00000.parquet")
    assert pq.read_table(pictures)["number"].to_pylist() == numbers
    index = Index.load(tmp_path / "index")
    assert _read(index, "d")["number"].tolist() == [LARGE]
    assert _read(index, "c")["number"].isna().all()
    assert _ask(index, f"number = {LARGE}") == ["d"]


@KINDS
def test_paths_of_the_added_start_from_their_own_folder(tmp_path, kind):
    root = tmp_path / "pictures"
    names = {"picture_id": ["a"], "path": ["a.jpg"]}
    _index(tmp_path / "index", _write(tmp_path / "one", "x", **names), kind, root)
    more = {"picture_id": ["b", "c", "d"], "path": ["b.jpg", None, "s3://bucket/d.jpg"]}
    _index(tmp_path / "index", _write(tmp_path / "two", "x", **more), kind, root / "of" / "two", adds=True)
    paths = _read(Index.load(tmp_path / "index"), "a", "b", "c", "d")["path"].tolist()
    assert paths == ["a.jpg", "of/two/b.jpg", "", "s3://bucket/d.jpg"]
    three = _write(tmp_path / "three", "x", picture_id=["e"], path=["e.jpg"])
    with pytest.raises(InputInvalid, match=r"paths of \S*three/x\.parquet start from \S+, those of .* --pictures"):
        _index(tmp_path / "index", three, kind, tmp_path / "elsewhere", adds=True)
    bare = _write(tmp_path / "four", "x", picture_id=["f"])  # says no paths
    assert _index(tmp_path / "index", bare, kind, tmp_path / "elsewhere", adds=True).count == 5


def test_categories_dates_and_an_index_of_pandas_are_taken(tmp_path):
    frame = pd.DataFrame(
        {"key": ["a", "b"], "kind": pd.Categorical(["x", None]), "seen": pd.to_datetime(["2020", "2021"])}
    )
    (tmp_path / "one").mkdir()
    frame.set_index("key").to_parquet(tmp_path / "one" / "x.parquet")
    np.save(tmp_path / "one" / "x.npy", np.random.default_rng(0).standard_normal((2, WIDTH)).astype(np.float16))
    _index(tmp_path / "index", tmp_path / "one")
    index = Index.load(tmp_path / "index")
    assert _ask(index, "kind = 'x' and year(seen) = 2020") == ["a"]
    assert "__index_level_0__" not in index.rows.columns
