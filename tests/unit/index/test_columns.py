"""Columns of metadata: of files, captions and tables of a person, kept and filtered by."""

import json

import pandas as pd
import pytest
from factories import draw_patches
from worlds.album import PARAMS, add, build

from compodiff.errors import InputInvalid
from compodiff.images import list_pictures
from compodiff.index import INSIDE
from compodiff.index.filters import Filters
from compodiff.index.folder import remove_from_index
from compodiff.index.index import Index
from compodiff.index.manifest import MANIFEST
from compodiff.index.own_columns import OwnColumns
from compodiff.search.query import Query
from compodiff.search.searcher import Searcher
from compodiff.serving.champion import Metadata


def test_metadata_of_files_captions_and_a_table_can_be_filtered_by(album, encoder, composer, tmp_path):
    (album / "a" / "1.txt").write_text("a quilt\n", encoding="utf-8")
    (album / "b" / "2.png.txt").write_bytes(b"\xff broken text")
    pd.DataFrame({"path": ["a/1.png", "b/2.png"], "stars": [5, 2]}).to_csv(tmp_path / "more.csv", index=False)
    build(album, encoder, columns=tmp_path / "more.csv")
    searcher = Searcher(composer, Index.load(album / INSIDE))

    def found(condition):
        return {hit.picture_id for hit in searcher.answer(Query(None, "a", k=99, where=condition))}

    assert found("folder = 'a'") == {f"a/{number}.png" for number in (1, 3, 5, 7)}
    assert found("caption = 'a quilt'") == {"a/1.png"}
    assert found("stars >= 4") == {"a/1.png"}
    assert found("stars is null and folder = 'b'") == {"b/0.png", "b/4.png", "b/6.png"}
    whole = "width = 64 and height = 48 and size > 10 and modified > '2020-01-01'"
    assert found(whole) == set(searcher.index.picture_ids)
    pd.DataFrame({"file": ["20.png"], "stars": [1]}).to_parquet(tmp_path / "new.parquet")
    draw_patches(20).save(album / "20.png")
    add(album, encoder, album / "20.png", columns=tmp_path / "new.parquet")
    searcher = Searcher(composer, Index.load(album / INSIDE))
    assert found("stars = 1") == {"20.png"}
    assert found("stars = 5") == {"a/1.png"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,stars\na,1\n", "has none of the columns path, picture_id, file"),
        ("path,stars\na/1.png,1\na/1.png,2\n", "names a/1.png twice"),
        ("path,stars\na/1.png,1\n.\\a\\1.png,2\n", "names a/1.png twice"),
        ("path,size\na/1.png,1\n", "the column size of .* is one that the index has already"),
        ("path,Width\na/1.png,1\n", "the column Width of .* is one that the index has already"),
        ("path,GROUP\na/1.png,1\n", "the column GROUP of .* is one that the index has already"),
        ("path,Stars,stars\na/1.png,1,2\n", "the columns Stars and stars of .* cannot be told apart in a filter"),
        ("path,stars,stars\na/1.png,1,2\n", "the columns stars and stars of .* cannot be told apart in a filter"),
        ("path,\na/1.png,1\n", "column 2 of .* has no name"),
        ("path, stars\na/1.png,1\n", "the column ' stars' of .* has spaces around it"),
        ('path,"stars\n', "cannot be read as .csv"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(album, encoder, tmp_path, content, message):
    (tmp_path / "more.csv").write_text(content)
    with pytest.raises(InputInvalid, match=message):
        build(album, encoder, columns=tmp_path / "more.csv")
    assert not (album / INSIDE).exists()


def _stars(album, composer):
    table = Searcher(composer, Index.load(album / INSIDE)).index.pictures
    known = table[table["stars"].notna()] if "stars" in table else table[:0].assign(stars=0)
    return dict(zip(known["picture_id"], known["stars"], strict=True))


def test_columns_are_kept_until_others_are_given_or_they_are_dropped(album, encoder, composer, tmp_path):
    (tmp_path / "more.csv").write_text("path,stars\na/1.png,5\nb/2.png,2\nlater.png,4\n")
    assert build(album, encoder, columns=tmp_path / "more.csv").unmet == (
        "1 of 3 rows of your table name no picture, for instance later.png"
    )
    assert build(album, encoder).unmet is None
    assert _stars(album, composer) == {"a/1.png": 5, "b/2.png": 2}
    draw_patches(20).save(album / "later.png")
    add(album, encoder, album / "later.png")
    assert _stars(album, composer) == {"a/1.png": 5, "b/2.png": 2, "later.png": 4}
    remove_from_index(album, album / INSIDE, PARAMS, ["a/1.png"])
    build(album, encoder, checksum=True)
    assert _stars(album, composer) == {"a/1.png": 5, "b/2.png": 2, "later.png": 4}
    (tmp_path / "new.csv").write_text("file,stars\nb/2.png,1\n")
    add(album, encoder, columns=tmp_path / "new.csv")
    assert _stars(album, composer) == {"a/1.png": 5, "b/2.png": 1, "later.png": 4}
    build(album, encoder, columns=tmp_path / "new.csv")
    assert _stars(album, composer) == {"b/2.png": 1}
    build(album, encoder, no_columns=True)
    assert "stars" not in Index.load(album / INSIDE).pictures


def test_columns_that_are_added_leave_others_and_values_of_another_kind_make_texts(album, encoder, composer, tmp_path):
    big = 2**53 + 1  # no float is this
    (tmp_path / "one.csv").write_text(f"path,stars,note,number\na/1.png,5,quilt,{big}\nb/2.png,2,,{big}\n")
    build(album, encoder, columns=tmp_path / "one.csv")
    (tmp_path / "two.csv").write_text("path,stars,seen,note\na/1.png,good,True,\nb/0.png,,False,new\n")
    add(album, encoder, columns=tmp_path / "two.csv")
    assert _stars(album, composer) == {"a/1.png": "good", "b/2.png": "2"}
    own = pd.read_parquet(album / INSIDE / "columns.parquet").set_index("path")
    assert own["note"].dropna().to_dict() == {"a/1.png": "quilt", "b/0.png": "new"}
    assert own["seen"].dropna().to_dict() == {"a/1.png": True, "b/0.png": False}
    (tmp_path / "three.csv").write_text("path,stars\na/1.png,7\n")
    add(album, encoder, columns=tmp_path / "three.csv")
    assert _stars(album, composer) == {"a/1.png": "7", "b/2.png": "2"}
    (tmp_path / "four.csv").write_text("path,Stars\na/1.png,7\n")
    with pytest.raises(InputInvalid, match="stars and Stars of the index's table and yours cannot be told apart"):
        add(album, encoder, columns=tmp_path / "four.csv")


@pytest.mark.parametrize("dtype", ["int64", "float64", "bool", "datetime64[us]", "str"])
def test_a_column_that_is_added_to_keeps_its_type(dtype):
    values = pd.Series([2**53 + 1, 0, 1] if dtype == "int64" else [0, 1, 1]).astype(dtype)
    before, given = (
        OwnColumns(pd.DataFrame({"own": values.iloc[rows].to_list()}, index=list(paths)).astype(dtype))
        for rows, paths in (([0, 1], "ab"), ([1, 2], "bc"))
    )
    joined = before.join(given).table["own"]
    assert joined.dtype == dtype
    assert joined[["a", "b", "c"]].tolist() == values.tolist()


def test_zeros_alone_stay_whole_beside_gaps_and_a_column_of_gaps_is_none_of_whole_numbers(tmp_path):
    path = tmp_path / "more.csv"
    path.write_text("path,zeros,empty\na.png,0,\nb.png,,\n")
    table = OwnColumns.read(path).table
    assert table["zeros"].dtype == "Int64"
    assert "empty" not in table or table["empty"].isna().all()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("gaps", ["in the table", "beside it"])
def test_whole_numbers_beyond_what_floats_hold_stay_exact_beside_gaps(album, encoder, composer, tmp_path, suffix, gaps):
    numbers = [2**53 + 1, 2**53 + 3, *([None] if gaps == "in the table" else [])]
    given = pd.DataFrame({"path": ["a/1.png", "b/2.png", "b/4.png"][: len(numbers)]})
    given["number"] = pd.array(numbers, "Int64")
    path = tmp_path / f"more.{suffix}"
    given.to_csv(path, index=False) if suffix == "csv" else given.astype({"number": object}).to_parquet(path)
    build(album, encoder, columns=path)
    for _ in range(2):
        index = Index.load(album / INSIDE)
        row = index.row["a/1.png"]
        assert Filters(index.pictures).find_rows(f"number = {2**53 + 1}").tolist() == [row]
        assert Metadata(index.pictures).read_rows([row, index.row["b/0.png"]])[0]["number"] == 2**53 + 1
        assert Metadata(index.pictures).read_rows([index.row["b/0.png"]])[0]["number"] is None
        draw_patches(20).save(album / "20.png")
        add(album, encoder, album / "20.png")


def test_columns_of_an_index_of_an_earlier_make_are_kept(album, encoder, composer, tmp_path):
    (tmp_path / "more.csv").write_text("path,stars\na/1.png,5\n")
    build(album, encoder, columns=tmp_path / "more.csv")
    (album / INSIDE / "columns.parquet").unlink()
    manifest = json.loads((album / INSIDE / MANIFEST).read_text())
    del manifest["files"]["columns.parquet"]
    (album / INSIDE / MANIFEST).write_text(json.dumps(manifest))
    build(album, encoder)
    assert _stars(album, composer) == {"a/1.png": 5}


def test_paths_of_another_system_and_names_that_look_like_numbers_are_met(album, encoder, composer, tmp_path):
    draw_patches(20).save(album / "007", "PNG")
    draw_patches(21).save(album / "cafe\u0301.png")  # as a Mac writes it; the table has one character
    table = "\ufeffPath,stars\n.\\a\\1.png,5\n./b/2.png,2\n007,3\ncaf\u00e9.png,1\n"
    (tmp_path / "more.csv").write_text(table, encoding="utf-8")
    files = list_pictures(album).files  # 007 by its content
    assert build(album, encoder, columns=tmp_path / "more.csv", files=files).unmet is None
    assert _stars(album, composer) == {"a/1.png": 5, "b/2.png": 2, "007": 3, "cafe\u0301.png": 1}
