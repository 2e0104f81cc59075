"""The test servers' files of CIRR and CIRCO: written, and checked before a submission is spent on a broken one."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkQuery
from compodiff.benchmarks.datasets.circo import VAL_QUERIES
from compodiff.benchmarks.datasets.loading import BenchmarkChoices, load_benchmark
from compodiff.benchmarks.scoring.ranking import Ints, Similarity, find_top_rows, score_candidates
from compodiff.benchmarks.scoring.scorer import find_excluded, require_fit, restrict, score_lists
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.errors import InputInvalid
from compodiff.storage.atomic import replace_folder, write_json
from compodiff.storage.json_files import read_json
from compodiff.storage.ownership import require_replaceable_folder

RECALL_LENGTH, SUBSET_LENGTH = 50, 3
MAX_BYTES = 5 * 2**20
CIRR_VERSION = "rc2"
RECORD = "record.json"
_RESERVED = ("version", "metric")
_SERVER_SPLITS = {"cirr": "test1", "circo": "test"}
_NAMED_FAULTS = 3
FindFault = Callable[[BenchmarkQuery, Any], str]
ListAnswers = Callable[[Benchmark, Vectors, Similarity, int], Mapping[str, Mapping[str, Any]]]


def write_submission(
    name: str,
    out: Path,
    benchmark: Benchmark,
    pictures: Vectors,
    similarity: Similarity,
    chunk: int,
    record: Mapping[str, Any] | None = None,
    *,
    skip_missing: bool = False,
) -> list[Path]:
    """Write the files that a test server takes as the folder `out`, whole or not at all, each checked before.

    Args:
        name: cirr or circo.
        out: the folder.
        benchmark: the split that the server scores.
        pictures: embeddings of its gallery.
        similarity: row i belongs to query i of the benchmark.
        chunk: gallery rows scored at once; changes memory and speed only.
        record: all that the answers depend on, written beside as record.json where there is one.
        skip_missing: pictures without an embedding are not listed, but the last of an image set.

    Raises:
        InputInvalid: counts or widths disagree, a picture has no embedding, or the server would refuse a file.
    """
    require_fit(benchmark, pictures, similarity)
    gallery, _ = restrict(benchmark, pictures, skip_missing=skip_missing)
    lists = LISTERS[name](benchmark, gallery, similarity, chunk)
    with replace_folder(out, _name_kind(benchmark.name, benchmark.split)) as folder:
        for file, content in lists.items():
            (folder / file).write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
            CHECKERS[name](_read(folder / file, str(out / file)), benchmark, str(out / file))
        if record is not None:
            write_json(folder / RECORD, record)
    return [out / file for file in (*lists, *([RECORD] if record is not None else []))]


def require_submission_folder(out: Path, name: str, split: str) -> None:
    """Check that nothing of anybody's is lost when a submission is written as the folder `out`.

    Raises:
        InputInvalid: it is somebody's, or holds another submission.
    """
    require_replaceable_folder(out, _name_kind(name, split))


def list_cirr(benchmark: Benchmark, gallery: Vectors, similarity: Similarity, chunk: int) -> dict[str, dict[str, Any]]:
    """Rank the gallery and each query's image set: the content of recall.json and recall_subset.json.

    Raises:
        InputInvalid: the gallery is too small.
    """
    recall = _rank_gallery(benchmark, gallery, similarity, chunk)
    subset = _rank_subsets(benchmark.queries, gallery, similarity)
    return {
        "recall.json": {"version": CIRR_VERSION, "metric": "recall", **recall},
        "recall_subset.json": {"version": CIRR_VERSION, "metric": "recall_subset", **subset},
    }


def list_circo(
    benchmark: Benchmark, gallery: Vectors, similarity: Similarity, chunk: int
) -> dict[str, dict[str, list[int]]]:
    """Rank the gallery: the content of submission.json.

    Raises:
        InputInvalid: the gallery is too small, or a picture's id is no number.
    """
    odd = next((name for name in gallery.ids if not name.isdecimal()), None)
    if odd is not None:
        raise InputInvalid(f"gallery id {odd!r} is not the number of a COCO picture")
    best = _rank_gallery(benchmark, gallery, similarity, chunk)
    return {"submission.json": {key: [int(name) for name in names] for key, names in best.items()}}


def choose_server_split(name: str, split: str | None) -> str:
    """Return `split`, or the one that the test server of benchmark `name` scores.

    Raises:
        InputInvalid: the benchmark has no test server.
    """
    if name not in _SERVER_SPLITS:
        raise InputInvalid(f"{name} has no test server; choose from: {', '.join(_SERVER_SPLITS)}")
    return split or _SERVER_SPLITS[name]


def load_server_benchmark(name: str, root: Path, split: str | None) -> Benchmark:
    """Load the split that a test server scores.

    Raises:
        InputInvalid: the benchmark has no test server, or an annotation file is broken.
    """
    (benchmark,) = load_benchmark(name, root, choose_server_split(name, split), BenchmarkChoices())
    return benchmark


def check_submission(name: str, file: Path, root: Path, split: str | None) -> tuple[str, Benchmark]:
    """Check a file as the test server would; return what it is good for, and the split that it is of.

    A CIRCO file of as many queries as val has is of val, where no split is named.

    Raises:
        InputInvalid: the benchmark has no test server, or the file or an annotation file is broken.
    """
    choose_server_split(name, split)
    content = _read(file, str(file))
    if split is None and name == "circo" and len(content) == VAL_QUERIES:
        split = "val"
    benchmark = load_server_benchmark(name, root, split)
    return CHECKERS[name](content, benchmark, str(file)), benchmark


def check_cirr(content: Mapping[str, Any], benchmark: Benchmark, where: str) -> str:
    """Check what a CIRR file holds; return what it is good for. `where` names the file.

    Raises:
        InputInvalid: the file is broken; the message names query and fault.
    """
    if content.get("version") != CIRR_VERSION:
        raise InputInvalid(f"{where}: version is {content.get('version')!r}, not {CIRR_VERSION!r}")
    metric = content.get("metric")
    lengths = {"recall": RECALL_LENGTH, "recall_subset": SUBSET_LENGTH}
    if metric not in lengths:
        raise InputInvalid(f"{where}: metric is {metric!r}, not 'recall' or 'recall_subset'")
    known = set(benchmark.gallery or ())

    def find_fault(query: BenchmarkQuery, name: Any) -> str:
        if not isinstance(name, str):
            return f"{json.dumps(name)} is not a picture's name"
        if name == query.reference:
            return f"{name} is its own reference"
        if metric == "recall_subset" and name not in query.candidates:
            return f"{name} is not in its image set"
        return "" if name in known else f"{name} is not a picture of {benchmark.split}"

    lists = {key: names for key, names in content.items() if key not in _RESERVED}
    _check(where, benchmark, lists, lengths[metric], find_fault)
    return f"{metric} of {benchmark.label}"


def check_circo(lists: Mapping[str, Any], benchmark: Benchmark, where: str) -> str:
    """Check what a CIRCO file holds; return what it is good for, with its score where targets are not hidden.

    Raises:
        InputInvalid: the file is broken; the message names query and fault.
    """
    known = None if benchmark.gallery is None else set(benchmark.gallery)

    def find_fault(_query: BenchmarkQuery, name: Any) -> str:
        if not isinstance(name, int) or isinstance(name, bool) or name < 0:
            return f"{json.dumps(name)} is not a picture's number"
        return "" if known is None or str(name) in known else f"{name} is not a picture of the gallery"

    _check(where, benchmark, lists, RECALL_LENGTH, find_fault)
    what = f"mAP of {benchmark.label}"
    if benchmark.hides_targets:
        return what
    scored = score_lists(benchmark, [[str(name) for name in lists[query.key]] for query in benchmark.queries])
    return f"{what} ({', '.join(f'{name} {values.mean():.4f}' for name, values in scored.items())})"


def _name_kind(name: str, split: str) -> str:
    return f"{name} {split} submission"


def _rank_gallery(benchmark: Benchmark, gallery: Vectors, similarity: Similarity, chunk: int) -> dict[str, list[str]]:
    """Return the best of the gallery for each query."""
    removed = benchmark.protocol.excludes_reference
    if len(gallery.ids) < RECALL_LENGTH + removed:
        raise InputInvalid(
            f"the gallery has {len(gallery.ids)} pictures, the server wants {RECALL_LENGTH} for each query; "
            "embed the whole gallery"
        )
    excluded = find_excluded(benchmark, benchmark.queries, gallery)
    rows = find_top_rows(similarity, gallery.embeddings, RECALL_LENGTH, excluded=excluded, chunk=chunk)
    return {each.key: [gallery.ids[row] for row in found] for each, found in zip(benchmark.queries, rows, strict=True)}


def _rank_subsets(queries: Sequence[BenchmarkQuery], gallery: Vectors, similarity: Similarity) -> dict[str, list[str]]:
    rows: Ints = np.array([[gallery.rows.get(name, -1) for name in query.candidates] for query in queries])
    scores = np.where(rows < 0, -np.inf, score_candidates(similarity, gallery.embeddings, rows))
    order = np.argsort(-scores, axis=1, kind="stable")
    return {
        query.key: [query.candidates[place] for place in places[:SUBSET_LENGTH]]
        for query, places in zip(queries, order, strict=True)
    }


def _read(path: Path, where: str) -> dict[str, Any]:
    """Read a submission; `where` names it."""
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise InputInvalid(f"{where} has {path.stat().st_size:,} bytes, the server takes {MAX_BYTES:,}")
    content = read_json(path, distinct=True)
    if not isinstance(content, dict):
        raise InputInvalid(f"{where} holds a JSON {type(content).__name__}, not an object of query -> list")
    return content


def _check(where: str, benchmark: Benchmark, lists: Mapping[str, Any], length: int, find_fault: FindFault) -> None:
    """Refuse missing and unknown queries, lists of the wrong length, duplicates and names with a fault."""
    queries = {query.key: query for query in benchmark.queries}
    faults = [f"query {key} is missing" for key in queries if key not in lists]
    faults += [f"query {key} is not a query of {benchmark.label}" for key in lists if key not in queries]
    for key, names in lists.items():
        if key in queries:
            faults += _list_faults(queries[key], names, length, find_fault)
    if faults:
        more = f"; and {len(faults) - _NAMED_FAULTS} more" if len(faults) > _NAMED_FAULTS else ""
        raise InputInvalid(f"{where}: {'; '.join(faults[:_NAMED_FAULTS])}{more}")


def _list_faults(query: BenchmarkQuery, names: Any, length: int, find_fault: FindFault) -> list[str]:
    if not isinstance(names, list):
        return [f"query {query.key} has {json.dumps(names)[:40]}, not a list"]
    if len(names) != length:
        return [f"query {query.key} lists {len(names)} pictures, not {length}"]
    faults = [fault for name in names if (fault := find_fault(query, name))]
    if faults:
        return [f"query {query.key}: {faults[0]}"]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    return [] if twice is None else [f"query {query.key} lists {twice} twice"]


LISTERS: Mapping[str, ListAnswers] = {"cirr": list_cirr, "circo": list_circo}
CHECKERS = {"cirr": check_cirr, "circo": check_circo}
