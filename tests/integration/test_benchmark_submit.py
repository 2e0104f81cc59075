"""`compodiff benchmark embed` and `submit`: what a model makes of a benchmark, as files, by the way of `run`."""

import json
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from factories import compute_cosines, write_tar
from typer.testing import CliRunner
from worlds.field import noise

from compodiff.benchmarks import model_files
from compodiff.cli import app
from compodiff.embeddings import making
from compodiff.errors import CompoDiffError, InputInvalid
from compodiff.storage.atomic import write_json

PICTURES, QUERIES = 54, 3


@pytest.fixture
def project(models, tmp_path, monkeypatch):
    shutil.copy(Path(__file__).parents[2] / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def benchmark(*arguments):
    result = CliRunner().invoke(app, ["benchmark", *map(str, arguments)])
    if isinstance(result.exception, CompoDiffError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def write_pictures(folder, names):
    folder.mkdir(parents=True)
    for place, name in enumerate(names):
        noise(100 + place).save(folder / name)


def write_cirr(root):
    """CIRR test1 with as many pictures as its server wants at least."""
    names = [f"test1-{number}-0-img0" for number in range(PICTURES)]
    items = [
        {"pairid": 7 + i, "reference": names[i], "caption": f"in row {i}", "img_set": {"id": i, "members": names[:6]}}
        for i in range(QUERIES)
    ]
    write_json(root / "captions/cap.rc2.test1.json", items)
    write_json(root / "image_splits/split.rc2.test1.json", {name: f"./test1/{name}.png" for name in names})
    write_pictures(root / "img_raw/test1", [f"{name}.png" for name in names])
    return {str(item["pairid"]): names.index(item["reference"]) for item in items}, names


def write_circo(root):
    """CIRCO test over a list of COCO's unlabeled pictures."""
    numbers = [str(number) for number in range(11, 11 + PICTURES)]
    items = [
        {"id": i, "reference_img_id": 11 + i, "relative_caption": f"is {i} times", "shared_concept": "noise"}
        for i in range(QUERIES)
    ]
    home = root / "COCO2017_unlabeled"
    write_json(root / "annotations/test.json", items)
    write_json(home / "annotations/image_info_unlabeled2017.json", {"images": [{"id": int(each)} for each in numbers]})
    write_pictures(home / "unlabeled2017", [f"{int(each):012d}.jpg" for each in numbers])
    return {str(item["id"]): None for item in items}, numbers


def leave_out(path, name):
    """Write a tar anew without one of its members."""
    with tarfile.open(path) as tar:
        kept = {member.name: tar.extractfile(member).read() for member in tar if member.name != name}
    write_tar(path, kept)


def rank(project, excluded):
    """The best 50 of each query by the embeddings of `embed`, as written down by hand."""
    with np.load(project / "G.npz") as gallery, np.load(project / "Q.npz") as queries:
        ids, scores = list(gallery["ids"]), compute_cosines(queries["embeddings"], gallery["embeddings"])
    for row, column in enumerate(excluded):
        if column is not None:
            scores[row, ids.index(column)] = -np.inf
    return [[ids[place] for place in np.argsort(-row, kind="stable")[:50]] for row in scores]


@pytest.mark.parametrize(("name", "write"), [("cirr", write_cirr), ("circo", write_circo)])
def test_a_model_fills_the_servers_files(models, project, name, write):
    references, names = write(project / name)
    split = {"cirr": "test1", "circo": "test"}[name]
    told = (name, "--root", project / name, "--model", models, "--steps", 1)
    benchmark("embed", *told, "--split", split, "--to", "G.npz", "Q.npz")
    written = benchmark("submit", *told, "--out", "sent").split()
    files = [Path(file) for file in written if not file.endswith("record.json")]
    for file in files:
        assert f"of {name} {split}, {QUERIES} queries" in benchmark("check-submission", name, file, "--root", name)
    expected = rank(project, [None if row is None else names[row] for row in references.values()])
    lists = json.loads(files[0].read_text())
    assert [[str(one) for one in lists[key]] for key in references] == expected
    record = json.loads((project / "sent/record.json").read_text())
    assert len(record["weights_digest"]) == 64
    assert (record["benchmark"], record["split"], record["sampling"]["num_inference_steps"]) == (name, split, 1)
    # The same from the files of `embed`, as anybody's embeddings are sent.
    benchmark("submit", name, "--root", name, "--gallery", "G.npz", "--queries", "Q.npz", "--out", "by-files")
    assert {file.name: file.read_bytes() for file in files} == {
        file.name: (project / "by-files" / file.name).read_bytes() for file in files
    }


def test_what_embed_writes_scores_as_run_does(models, project):
    told = ("triplets", "--root", models / "benchmark", "--model", models)
    benchmark("run", *told, "--no-track", "--json", "run.json")
    benchmark("embed", *told, "--to", "G.npz", "Q.npz")
    benchmark("embed", *told, "--to", "G.npz", "Q.npz")  # again: what it wrote may be replaced
    scored = benchmark("score", *told[:3], "--gallery", "G.npz", "--queries", "Q.npz", "--json")
    assert json.loads(scored)["metrics"] == json.loads((project / "run.json").read_text())["metrics"]
    (project / "mine.npz").write_bytes(b"mine")
    for files, fault in ((("mine.npz", "Q.npz"), "did not write"), (("G.npz", "./G.npz"), "named for both")):
        with pytest.raises(InputInvalid, match=fault):
            benchmark("embed", *told, "--to", *files)


def test_what_is_missing_is_counted_where_asked(models, project):
    references, names = write_cirr(project / "cirr")
    (project / f"cirr/img_raw/test1/{names[1]}.png").unlink()  # a reference
    (project / f"cirr/img_raw/test1/{names[5]}.png").write_bytes(b"")
    told = ("cirr", "--root", "cirr", "--model", models, "--steps", 1)
    files, split = ("--to", "G.npz", "Q.npz"), ("--split", "test1")
    with pytest.raises(InputInvalid, match=r"1 of 54 pictures of cirr are missing .*, or leave them out with --skip-m"):
        benchmark("submit", *told, "--out", "sent")
    missing = f"2 pictures missing ({names[1]}, {names[5]} ...), 1 queries "
    assert f"{missing}left out" in benchmark("embed", *told, *split, "--skip-missing", *files)
    sent = benchmark("submit", *told, "--skip-missing", "--out", "sent")
    assert f"{missing}answered by the gallery's first pictures" in sent
    record = json.loads((project / "sent/record.json").read_text())
    assert (record["missing_picture_names"], record["queries_without_reference"]) == ([names[1], names[5]], 1)
    for file in ("sent/recall.json", "sent/recall_subset.json"):
        assert "is good" in benchmark("check-submission", "cirr", file, "--root", "cirr")
    with np.load("G.npz") as gallery:
        assert json.loads(Path("sent/recall.json").read_text())[[*references][1]] == gallery["ids"][:50].tolist()
    own = ("submit", "cirr", "--root", "cirr", "--gallery", "G.npz", "--queries", "Q.npz", "--out", "by-files")
    with pytest.raises(InputInvalid, match="1 of 3 queries have no answer; leave them out with --skip-missing"):
        benchmark(*own)
    benchmark(*own, "--skip-missing")
    assert Path("by-files/recall.json").read_bytes() == Path("sent/recall.json").read_bytes()


def test_scores_without_what_is_missing_are_those_of_the_run(models, project):
    shutil.copytree(models / "benchmark", project / "benchmark")
    leave_out(project / "benchmark/gallery/drawn.tar", "bar-red.png")
    told = ("triplets", "--root", "benchmark", "--skip-missing")
    benchmark("run", *told, "--model", models, "--no-track", "--json", "run.json")
    benchmark("embed", *told, "--model", models, "--to", "G.npz", "Q.npz")
    scored = json.loads(benchmark("score", *told, "--gallery", "G.npz", "--queries", "Q.npz", "--json"))
    ran = json.loads((project / "run.json").read_text())
    assert scored["metrics"] == ran["metrics"]
    counted = ("queries", "skipped_queries", "queries_without_reference", "missing_pictures", "missing_picture_names")
    assert {name: scored["record"][name] for name in counted} == {name: ran["record"][name] for name in counted}
    assert scored["record"]["queries_without_reference"] > 0
    with pytest.raises(InputInvalid, match="queries have no answer; leave them out with --skip-missing"):
        benchmark("score", *told[:3], "--gallery", "G.npz", "--queries", "Q.npz")


def test_of_two_files_neither_is_taken_for_another_runs(models, project, monkeypatch):
    shutil.copytree(models / "benchmark", project / "benchmark")
    told = ("triplets", "--root", "benchmark")
    benchmark("embed", *told, "--model", models, "--to", "G.npz", "Q.npz")
    before = {name: (project / name).read_bytes() for name in ("G.npz", "Q.npz")}
    savez, saved = np.savez, []

    def stop(file, **arrays):
        saved.append(file)
        if len(saved) == 2:
            raise CompoDiffError("stopped")
        savez(file, **arrays)

    leave_out(project / "benchmark/gallery/drawn.tar", "ring-gray.png")
    noise(1).save(project / "benchmark/gallery/ring-gray.png")
    other = ("embed", *told, "--model", models, "--to", "G.npz", "Q.npz")
    monkeypatch.setattr(model_files.np, "savez", stop)
    with pytest.raises(CompoDiffError, match="stopped"):
        benchmark(*other)
    monkeypatch.setattr(model_files.np, "savez", savez)
    assert {name: (project / name).read_bytes() for name in before} == before
    benchmark(*other)
    (project / "Q.npz").write_bytes(before["Q.npz"])  # as a kill between the two renamings leaves it
    with pytest.raises(InputInvalid, match=r"G\.npz and Q\.npz were not written together; run `"):
        benchmark("score", *told, "--gallery", "G.npz", "--queries", "Q.npz")


def test_queries_of_several_embeddings_score_by_the_best(project, tmp_path):
    lines = [{"reference": "a", "relative_caption": "x", "target": "b"}]
    (tmp_path / "queries.jsonl").write_text(json.dumps(lines[0]))
    np.savez("G.npz", ids=np.array(["a", "b", "c"]), embeddings=np.eye(3, dtype=np.float32))
    np.savez("Q.npz", embeddings=np.array([[[0.1, 0.2, 0.3], [0.0, 1.0, 0.1]]], np.float32))
    scored = benchmark("score", "triplets", "--root", ".", "--gallery", "G.npz", "--queries", "Q.npz", "--json")
    assert json.loads(scored)["metrics"]["recall_at_1"] == 1


def test_a_submission_that_was_stopped_leaves_nothing_and_goes_on(models, project, monkeypatch):
    write_cirr(project / "cirr")
    told = ("submit", "cirr", "--root", "cirr", "--model", models, "--out", "sent")
    embed_pictures, embed_texts = making._embed_pictures, making._embed_texts
    embedded = []

    def count(encoder, material, params, names):
        embedded.extend(names)
        return embed_pictures(encoder, material, params, names)

    def stop(*_arguments):
        raise CompoDiffError("stopped")

    monkeypatch.setattr(making, "_embed_pictures", count)
    monkeypatch.setattr(making, "_embed_texts", stop)
    with pytest.raises(CompoDiffError, match="stopped"):
        benchmark(*told)
    assert not (project / "sent").exists()
    monkeypatch.setattr(making, "_embed_texts", embed_texts)
    benchmark(*told)
    assert len(embedded) == PICTURES
    assert sorted(file.name for file in (project / "sent").glob("r*.json")) == [
        "recall.json",
        "recall_subset.json",
        "record.json",
    ]


KILLED = """
import json, os, signal
from pathlib import Path
from compodiff.benchmarks import submission
from compodiff.benchmarks.scoring.vectors import load_gallery, load_queries
dumps, calls = json.dumps, []
def dump(content, **options):
    calls.append(content)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return dumps(content, **options)
submission.json.dumps = dump
given = load_gallery(Path("G.npz"), str), load_queries(Path("Q.npz"))
test1 = submission.load_server_benchmark("cirr", Path("cirr"), None)
submission.write_submission("cirr", Path("sent"), test1, *given, 9)
"""


def test_a_process_killed_between_two_files_leaves_none(project):
    _, names = write_cirr(project / "cirr")
    vectors = np.random.default_rng(1).normal(size=(PICTURES, 8)).astype(np.float32)
    np.savez("G.npz", ids=np.array(names), embeddings=vectors)
    np.savez("Q.npz", embeddings=vectors[:QUERIES])
    ended = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not Path("sent").exists()
    told = ("--root", "cirr", "--gallery", "G.npz", "--queries", "Q.npz", "--out", "sent")
    assert len(benchmark("submit", "cirr", *told).split()) == 2
    assert [path.name for path in project.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--gallery", "G.npz"), "give both --gallery and --queries"),
        (
            ("--gallery", "G.npz", "--queries", "Q.npz", "--steps", "2"),
            "leave out --model, --cache, --template and the dials",
        ),
    ],
)
def test_what_cannot_be_sent_is_refused_first(project, options, fault):
    write_cirr(project / "cirr")
    with pytest.raises(InputInvalid, match=fault):
        benchmark("submit", "cirr", "--root", "cirr", "--out", "sent", "--model", "nowhere", *options)
