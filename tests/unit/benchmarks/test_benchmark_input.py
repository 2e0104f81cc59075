"""Bad input of `compodiff benchmark score`, `submit` and `check-submission`: one clear line that names the item."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from compodiff.cli import app
from compodiff.errors import InputInvalid
from compodiff.storage.atomic import write_json

PICTURES = [f"p{i}" for i in range(6)]
GALLERY = np.eye(6, 4, dtype=np.float32) + 0.1
QUERIES = np.ones((2, 4), dtype=np.float32)


def benchmark(*arguments):
    result = CliRunner().invoke(app, ["benchmark", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def root(tmp_path):
    lines = [
        {"reference": "p0", "relative_caption": "x", "target": "p1"},
        {"reference": "p2", "relative_caption": "y", "target": "p3"},
    ]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def score(root, *options, gallery=None, queries=None):
    np.savez(root / "G.npz", **({"ids": np.array(PICTURES), "embeddings": GALLERY} | (gallery or {})))
    np.savez(root / "Q.npz", **({"embeddings": QUERIES} | (queries or {})))
    given = ("--gallery", root / "G.npz", "--queries", root / "Q.npz")
    return benchmark("score", "triplets", "--root", root, "--split", "test", *given, *options)


def test_a_good_input_is_scored_as_a_table_and_as_json(root):
    assert "recall_at_1" in score(root)
    found = json.loads(score(root, "--json"))
    assert found["record"]["gallery"] == 6
    assert found["record"]["reference_removed"] is True
    low, high = found["intervals"]["recall_at_5"]
    assert 0 <= low <= found["metrics"]["recall_at_5"] <= high <= 1


def test_embeddings_of_other_pictures_are_counted_and_not_ranked(root):
    (root / "gallery").mkdir()
    for name in PICTURES[:4]:
        (root / "gallery" / f"{name}.png").touch()  # pictures are not needed, only their names
    found = json.loads(score(root, "--json"))["record"]
    assert (found["gallery"], found["pictures_not_of_the_benchmark"]) == (4, 2)
    assert "2 embeddings are of other pictures" in score(root)


def nan_at(row):
    embeddings = GALLERY.copy()
    embeddings[row, 0] = np.nan
    return embeddings


@pytest.mark.parametrize(
    ("gallery", "queries", "fault"),
    [
        ({"ids": np.array([*PICTURES[:5], "p0"])}, None, r"G\.npz: gallery id 'p0' occurs 2 times"),
        ({"embeddings": nan_at(3)}, None, r"picture 'p3' has an embedding with NaN"),
        (None, {"embeddings": nan_at(1)[:2]}, r"query 1 has an embedding with NaN"),
        (None, {"embeddings": np.ones((3, 4))}, r"3 query embeddings for 2 queries"),
        (None, {"embeddings": np.ones((2, 5))}, r"queries are 5 wide and the gallery 4"),
        ({"ids": np.array(["p0", "p2", "p3", "a", "b", "c"])}, None, r"picture 'p1' of triplets test has no embedding"),
        ({"ids": np.array(["a"] * 5)}, None, r"5 ids for 6 embeddings"),
        ({"ids": np.array([PICTURES])}, None, r"ids has shape \(1, 6\)"),
        ({"ids": np.array(PICTURES, dtype=object)}, None, r"objects, which are not read.*ids as strings or integers"),
        ({"embeddings": np.ones((6, 4), dtype=np.int64)}, None, r"embeddings is int64 of shape"),
        ({"embeddings": np.ones(6)}, None, r"embeddings is float64 of shape \(6,\)"),
    ],
)
def test_embeddings_that_cannot_be_scored(root, gallery, queries, fault):
    with pytest.raises(InputInvalid, match=fault):
        score(root, "--json", gallery=gallery, queries=queries)


def test_files_that_are_no_embeddings(root):
    score(root)
    given = ["score", "triplets", "--root", root, "--split", "test", "--queries", root / "Q.npz", "--gallery"]
    with pytest.raises(InputInvalid, match=r"nowhere\.npz is not there"):
        benchmark(*given, root / "nowhere.npz")
    with pytest.raises(InputInvalid, match=r"has no array 'ids'; it holds: 'embeddings'"):
        benchmark(*given, root / "Q.npz")
    (root / "half.npz").write_bytes((root / "G.npz").read_bytes()[:200])
    with pytest.raises(InputInvalid, match=r"half\.npz is not an npz file, or cut short"):
        benchmark(*given, root / "half.npz")
    np.save(root / "plain.npy", GALLERY)
    with pytest.raises(InputInvalid, match=r"plain\.npy is not an npz file"):
        benchmark(*given, root / "plain.npy")


def test_skip_missing_counts_what_it_leaves_out(root):
    partly = {"ids": np.array(["p0", "p2", "p3", "a", "b", "c"])}
    record = json.loads(score(root, "--json", "--skip-missing", gallery=partly))["record"]
    assert record["missing_pictures"] == 1
    assert record["missing_picture_names"] == ["p1"]
    assert (record["queries"], record["skipped_queries"]) == (1, 1)
    nothing = {"ids": np.array(list("abcdef"))}
    with pytest.raises(InputInvalid, match="no query of triplets test has a target in the gallery"):
        score(root, "--skip-missing", gallery=nothing)


@pytest.fixture
def cirr(tmp_path):
    """CIRR test1 with two queries and 60 pictures, and the good recall file for it."""
    names = [f"test1-{i}" for i in range(60)]
    items = [
        {
            "pairid": 10 + i,
            "reference": names[i],
            "caption": "x",
            "img_set": {"id": 0, "members": names[:6]},
        }
        for i in range(2)
    ]
    write_json(tmp_path / "captions/cap.rc2.test1.json", items)
    write_json(tmp_path / "image_splits/split.rc2.test1.json", {name: f"./test1/{name}.png" for name in names})
    good = {"version": "rc2", "metric": "recall", "10": names[1:51], "11": [names[0], *names[2:51]]}
    return tmp_path, names, good


def check(root, content, name="cirr"):
    write_json(root / "file.json", content)
    return benchmark("check-submission", name, root / "file.json", "--root", root)


def test_a_good_cirr_file_is_accepted(cirr):
    root, names, good = cirr
    assert "is good: recall of cirr test1, 2 queries" in check(root, good)
    subset = {"version": "rc2", "metric": "recall_subset", "10": names[1:4], "11": names[2:5]}
    assert "is good: recall_subset" in check(root, subset)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"version": "rc1"}, "version is 'rc1', not 'rc2'"),
        ({"metric": "map"}, "metric is 'map', not 'recall' or 'recall_subset'"),
        ({"11": None}, "query 11 has null, not a list"),
        ({"12": []}, "query 12 is not a query of cirr test1"),
        ({"11": ["test1-5"] * 50}, "query 11 lists test1-5 twice"),
        ({"11": ["test1-5"]}, "query 11 lists 1 pictures, not 50"),
        ({"11": [f"test1-{i}" for i in range(50)]}, "query 11: test1-1 is its own reference"),
        ({"11": [f"dev-{i}" for i in range(50)]}, "query 11: dev-0 is not a picture of test1"),
        ({"11": list(range(50))}, "query 11: 0 is not a picture's name"),
        (
            {"metric": "recall_subset", "10": ["test1-1", "test1-2", "test1-9"]},
            "query 10: test1-9 is not in its image set",
        ),
    ],
)
def test_a_broken_cirr_file_is_refused_with_query_and_fault(cirr, change, fault):
    root, _, good = cirr
    with pytest.raises(InputInvalid, match=fault):
        check(root, good | change)


def test_other_broken_submissions(cirr):
    root, _, good = cirr
    del good["10"]
    with pytest.raises(InputInvalid, match="query 10 is missing"):
        check(root, good)
    with pytest.raises(InputInvalid, match="holds a JSON list"):
        check(root, [1])
    (root / "twice.json").write_text('{"version": "rc2", "metric": "recall", "10": [], "10": []}')
    with pytest.raises(InputInvalid, match=r"twice\.json: the key '10' occurs 2 times"):
        benchmark("check-submission", "cirr", root / "twice.json", "--root", root)
    (root / "big.json").write_text(" " * (5 * 2**20 + 1))
    with pytest.raises(InputInvalid, match="the server takes 5,242,880"):
        benchmark("check-submission", "cirr", root / "big.json", "--root", root)
    with pytest.raises(InputInvalid, match="fashioniq has no test server"):
        check(root, good, name="fashioniq")


def test_a_gallery_too_small_for_the_server_is_refused(cirr):
    root, names, _ = cirr
    few = {name: f"./{name}.png" for name in names[:10]}
    write_json(root / "image_splits/split.rc2.test1.json", few)
    np.savez(root / "G.npz", ids=np.array(names[:10]), embeddings=np.ones((10, 4)))
    np.savez(root / "Q.npz", embeddings=QUERIES)
    given = ("--gallery", root / "G.npz", "--queries", root / "Q.npz", "--out", root / "out")
    with pytest.raises(InputInvalid, match="has 10 pictures, the server wants 50"):
        benchmark("submit", "cirr", "--root", root, *given)
    assert not (root / "out").exists()


def test_circo_files_hold_50_numbers_for_each_query(tmp_path):
    items = [{"id": i, "reference_img_id": 1, "relative_caption": "x", "shared_concept": "y"} for i in range(2)]
    write_json(tmp_path / "annotations/test.json", items)
    good = {str(i): list(range(50)) for i in range(2)}
    assert "is good" in check(tmp_path, good, name="circo")
    for change, fault in (
        ({"1": [*range(49), 3]}, "query 1 lists 3 twice"),
        ({"1": [*range(49), "7"]}, 'query 1: "7" is not a picture\'s number'),
        ({"1": list(range(51))}, "query 1 lists 51 pictures, not 50"),
        ({"2": list(range(50))}, "query 2 is not a query of circo test"),
    ):
        with pytest.raises(InputInvalid, match=fault):
            check(tmp_path, good | change, name="circo")
