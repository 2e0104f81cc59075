"""What PinPoint, i-CIR, M-BEIR and CIRCUS say beside what a run of them shows (tests/integration)."""

import json

import numpy as np
import pandas as pd
import pytest
from factories import encode_picture, write_tar
from typer.testing import CliRunner
from worlds.field_2026 import FIELDS_2026, circus, icir, mbeir, place, write_lines

from compodiff.benchmarks.datasets.doctor import examine, list_sources
from compodiff.benchmarks.datasets.embedding import find_present
from compodiff.benchmarks.datasets.icir import load_icir
from compodiff.benchmarks.datasets.loading import ENTRIES
from compodiff.benchmarks.datasets.mbeir import load_circus, load_mbeir
from compodiff.benchmarks.datasets.pinpoint import load_pinpoint
from compodiff.cli import app
from compodiff.errors import InputInvalid

ROW = {
    "query_id": "00001",
    "query_image_signature": "aa",
    "query_image_signature2": None,
    "instruction": "in blue",
    "positive_candidates": ["cc"],
    "negative_candidates": ["dd"],
}


def write_pinpoint(root, *rows, listed=("aa", "bb", "cc", "dd")):
    pd.DataFrame([ROW | row for row in rows]).to_parquet(root / "pinpoint_licensed.parquet")
    (root / "index_signatures.txt").write_text("\n".join(listed))
    return root


def test_pinpoint_has_two_pictures_negatives_and_paraphrases(tmp_path):
    both = {"query_image_signature2": "bb"}
    rows = [{}, {"query_id": "00002", "instruction": "blue, please"}, both | {"query_id": "00003"}]
    (benchmark,) = load_pinpoint(
        write_pinpoint(tmp_path, *rows, {"query_id": "4", "query_image_signature2": "None"}), "test"
    )
    assert [query.references for query in benchmark.queries] == [("aa",), ("aa",), ("aa", "bb"), ("aa",)]
    assert [query.groups for query in benchmark.queries][1:3] == [("one picture",), ("two pictures",)]
    assert {query.key: query.intent for query in benchmark.queries} == {
        "00001": "aa",
        "00002": "aa",
        "00003": "aa bb",
        "00004": "aa",
    }
    assert benchmark.queries[0].negatives == ("dd",)


def test_pinpoint_may_list_the_wordings_of_a_query(tmp_path):
    rows = [{"query_id": 1, "instruction": ["in blue", "blue, please"]}, {"query_id": 2, "instruction": ["in red"]}]
    (benchmark,) = load_pinpoint(write_pinpoint(tmp_path, *rows), "test")
    assert [query.key for query in benchmark.queries] == ["00001", "00001/2", "00002"]
    assert [query.intent for query in benchmark.queries] == ["00001", "00001", "00002"]


def test_judged_pictures_that_the_index_does_not_list_count_and_cannot_be_found(tmp_path):
    row = {"positive_candidates": ["cc", "gone"], "negative_candidates": ["dd", "away"]}
    (benchmark,) = load_pinpoint(write_pinpoint(tmp_path, row), "test")
    assert benchmark.queries[0].targets == ("cc", "gone")
    assert benchmark.gallery == ("aa", "bb", "cc", "dd")
    assert "gone" not in benchmark.named_pictures
    assert benchmark.settings["gallery_variant"] == "index_signatures.txt, without 2 judged pictures"


@pytest.mark.parametrize(
    ("rows", "listed", "fault"),
    [
        ([{}, {}], ("aa", "cc", "dd"), "query '00001' occurs 2 times"),
        ([{}], ("aa", "cc", "dd", "cc"), "gallery picture 'cc' occurs 2 times"),
        ([{"instruction": 3}], ("aa",), "row 1: instruction is 3, not str"),
        ([{"query_image_signature": ""}], ("aa",), "row 1: query_image_signature is empty"),
    ],
)
def test_broken_pinpoint_files_are_named(tmp_path, rows, listed, fault):
    with pytest.raises(InputInvalid, match=fault):
        load_pinpoint(write_pinpoint(tmp_path, *rows, listed=listed), "test")


def test_icir_reads_samples_of_tars_by_the_path_that_they_name(tmp_path):
    names = icir("annotations", "image_path,text_query,instance_id")(tmp_path)
    for kind in ("query", "database"):
        of_kind = [name for name in names if f"/{kind}/" in name]
        members = {}
        for number, name in enumerate(of_kind):
            members[f"{number:06d}.jpg"] = encode_picture("red" if number == 0 else "blue", "JPEG")
            members[f"{number:06d}.json"] = json.dumps({"img_path": name, "instance": "x", "text": ""}).encode()
        members["._000000.jpg"] = b"a Mac's own"
        (tmp_path / "webdataset" / kind).mkdir(parents=True)
        write_tar(tmp_path / "webdataset" / kind / f"{kind}-000000.tar", members)
    parts = load_icir(tmp_path, "test")
    assert [part.part for part in parts] == ["a_temple", "a_toy"]
    assert parts[0].queries[1].targets == ("icir/database/a_temple/003.jpg",)
    assert all(part.pictures.has(name) for part in parts for name in part.named_pictures)
    red, _, blue = parts[0].pictures.read(parts[0].queries[0].reference).convert("RGB").getpixel((1, 1))
    assert red > 200 > blue
    assert [part.part for part in load_icir(tmp_path, "test", instance="a_toy")] == ["a_toy"]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("icir/database/a_toy/001.jpg,at 0 o'clock,a_toy", "row 35 says what row 18 says"),
        ("icir/database/a_toy/9.jpg,one,two,three", "row 35 has 4 fields"),
        ('icir/database/a_toy/9.jpg,"one,a_toy', "cannot be read as a table"),
    ],
)
def test_broken_icir_tables_are_named(tmp_path, row, fault):
    icir(".")(tmp_path)
    with (tmp_path / "database_files.csv").open("a") as table:
        table.write(row)
    with pytest.raises(InputInvalid, match=fault):
        load_icir(tmp_path, "test")


def test_an_icir_query_without_an_answer_is_named(tmp_path):
    icir(".")(tmp_path)
    with (tmp_path / "query_files.csv").open("a") as table:
        table.write("icir/query/a_toy/0.jpg,on the moon,a_toy\n")
    with pytest.raises(InputInvalid, match="no picture of a_toy in the database has the text 'on the moon'"):
        load_icir(tmp_path, "test")


def test_mbeir_takes_its_judgements_where_they_are_and_the_queries_own_otherwise(tmp_path):
    names = mbeir(".")(tmp_path)
    (benchmark,) = load_mbeir(tmp_path, "test")
    assert (benchmark.part, benchmark.queries[0].targets) == ("cirr", (names[1],))
    assert benchmark.queries[0].reference == names[0]  # its picture is a candidate
    (tmp_path / "qrels/test/mbeir_cirr_task7_test_qrels.txt").unlink()
    with pytest.raises(InputInvalid, match="query 7:0 has no positive candidate"):
        load_mbeir(tmp_path, "test")
    with pytest.raises(InputInvalid, match="no data set 'cirrus'; choose from: cirr"):
        load_mbeir(tmp_path, "test", dataset="cirrus")


def test_circus_joins_what_was_validated_and_leaves_out_its_trails(tmp_path):
    circus("cirr_mbeir", "cand_pool/local/mbeir_cirr_task7_cand_pool.jsonl")(tmp_path)
    (benchmark,) = load_circus(tmp_path, "validated")
    assert [query.groups for query in benchmark.queries] == [("validated_solved",), *[("validated_unsolved",)] * 2]
    (solved,) = load_circus(tmp_path, "validated_solved")
    assert len(solved.queries) == 1
    with pytest.raises(InputInvalid, match="holds no queries of shortcut_free"):
        load_circus(tmp_path, "shortcut_free")


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        ({"did": "7:1", "img_path": place("7:1")}, "candidate '7:1' occurs 2 times"),
        ({"did": "7:99", "img_path": None, "txt": "a cat"}, "candidate 7:99 is no picture"),
    ],
)
def test_a_broken_pool_is_named(tmp_path, item, fault):
    names = mbeir(".")(tmp_path)
    pool = [{"did": name, "img_path": place(name)} for name in names]
    write_lines(tmp_path / "cand_pool/local/mbeir_cirr_task7_cand_pool.jsonl", [*pool, item])
    with pytest.raises(InputInvalid, match=fault):
        load_mbeir(tmp_path, "test")


def test_the_doctor_sums_up_many_parts_and_knows_a_source_of_each(tmp_path):
    icir(".")(tmp_path)
    for table in (tmp_path / "query_files.csv", tmp_path / "database_files.csv"):
        rows = [row for row in table.read_text().splitlines() if "a_toy" in row]
        table.write_text("\n".join(row.replace("a_toy", f"toy_{number}") for number in range(13) for row in rows))
    counts, pictures = examine("icir", tmp_path)
    assert counts.what.startswith("test: 13 parts, 39 queries, galleries of 221 in all; published: 202 parts, 1,883")
    assert pictures.what.startswith("test: 260 of 260 pictures missing (")
    assert all(list_sources(name) for name in ENTRIES)


def test_an_instance_none_of_whose_answers_is_there_is_left_out_and_named(tmp_path):
    (field,) = [field for field in FIELDS_2026 if field.name == "icir"]
    names = field.make(tmp_path)
    gone = [name for name in names if "/database/a_toy/" in name]
    for name in gone:
        (tmp_path / field.picture(name)).unlink()
    there = find_present(load_icir(tmp_path, "test"), skip_missing=True)
    assert ([part.part for part in there.parts], there.parts_left_out) == (["a_temple"], ("a_toy",))
    kept = [name for name in names if name not in gone]
    np.savez(tmp_path / "G.npz", ids=np.array(kept), embeddings=np.eye(len(kept), 30) + 0.1)
    np.savez(tmp_path / "Q.npz", embeddings=np.ones((6, 30)))
    files = ["--gallery", str(tmp_path / "G.npz"), "--queries", str(tmp_path / "Q.npz"), "--skip-missing"]
    result = CliRunner().invoke(app, ["benchmark", "score", "icir", "--root", str(tmp_path), *files])
    assert "1 parts left out, none of whose answers is there: a_toy" in " ".join(result.stdout.split())
    assert "3 queries, gallery 17" in result.stdout
