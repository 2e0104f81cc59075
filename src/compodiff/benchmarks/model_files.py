"""What a model makes of a benchmark, as files: embeddings that `score` and `submit` read, or a test server's files.

The way is that of `run`: the same pictures, embeddings, cache and answers, of which nothing is scored here.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from compodiff.benchmarks.answers import read_gallery_vectors
from compodiff.benchmarks.report.comparison import COMPOSED
from compodiff.benchmarks.run import BenchmarkRun, ask_queries
from compodiff.benchmarks.scoring.ranking import Ints, Similarity
from compodiff.benchmarks.scoring.vectors import fill_answers
from compodiff.benchmarks.submission import write_submission
from compodiff.errors import InputInvalid
from compodiff.storage.atomic import replace_path
from compodiff.storage.ownership import make_signature, require_replaceable_file

EMBEDDINGS = "benchmark embeddings"  # the kind of both files


def require_embedding_files(gallery: Path, queries: Path) -> None:
    """Check that nothing of anybody's is lost when embeddings are written to these files.

    Raises:
        InputInvalid: one of them is somebody's, or both are one.
    """
    if os.path.realpath(gallery) == os.path.realpath(queries):
        raise InputInvalid(f"{gallery} is named for both, the gallery and the queries; name two files")
    for path in (gallery, queries):
        require_replaceable_file(path, EMBEDDINGS)


def write_embeddings(run: BenchmarkRun, gallery: Path, queries: Path) -> tuple[int, int]:
    """Write the gallery's embeddings and the model's answers, both or neither; return how many.

    `queries` holds (Q, D), or (Q, S, D) of a model that answers with S embeddings; queries stand in the order of the
    annotation files, one part after the other, and `places` says which those are where some have no reference. Both
    files hold the same `pair`, by which `load_embeddings` knows a file whose other one is of an earlier run.

    Raises:
        InputInvalid: a picture, a text or a mask has no embedding, or a file is somebody's.
        ResourceUnavailable: the disk is full.
    """
    answers, places = [answer for answer, _ in _answer_parts(run)], _find_answered(run)
    vectors = read_gallery_vectors(run.source.embeddings)
    composed = np.concatenate([np.stack(each.parts, axis=1) for each in answers])  # (Q, S, D)
    if composed.shape[1] == 1:
        composed = composed[:, 0]
    left_out = {"places": places} if len(places) < sum(len(part.queries) for part in run.whole) else {}
    both = hashlib.sha256(np.ascontiguousarray(vectors.embeddings).data)
    both.update(np.ascontiguousarray(composed).data)
    pair = np.frombuffer(both.digest(), np.uint8)
    with replace_path(gallery, EMBEDDINGS) as first, replace_path(queries, EMBEDDINGS) as second:
        _write_arrays(first, pair=pair, ids=np.array(vectors.ids), embeddings=vectors.embeddings)
        _write_arrays(second, pair=pair, embeddings=composed, **left_out)
    return len(vectors.ids), len(composed)


def write_model_submission(run: BenchmarkRun, name: str, out: Path) -> list[Path]:
    """Write the test server's files, and what they depend on, as the folder `out`; return the files.

    The server wants a list for each query: one whose reference is missing gets the first pictures of the gallery.

    Raises:
        InputInvalid: a picture, a text or a mask has no embedding, or the server would refuse a file.
        ResourceUnavailable: the disk is full.
    """
    ((answer, record),), (whole,) = _answer_parts(run), run.whole
    vectors, chunk = read_gallery_vectors(run.source.embeddings), run.evaluation.chunk
    every = fill_answers(answer, _find_answered(run), len(whole.queries))
    return write_submission(name, out, whole, vectors, every, chunk, record, skip_missing=run.skip_missing)


def _find_answered(run: BenchmarkRun) -> Ints:
    """Return the places of the answered queries among those of the annotation files."""
    answered = {(part.part, query.key) for part in run.parts for query in part.queries}
    named = [(part.part, query.key) for part in run.whole for query in part.queries]
    return np.array([place for place, name in enumerate(named) if name in answered])


def _answer_parts(run: BenchmarkRun) -> list[tuple[Similarity, dict[str, Any]]]:
    """Return the model's answers to each part, and all that they depend on."""
    return [
        (
            run.models[COMPOSED].answer(ask_queries(part, run.source), f"{COMPOSED}, {part.label}"),
            {"benchmark": part.name, "split": part.split, **part.settings, **run.settings},
        )
        for part in run.parts
    ]


def _write_arrays(path: Path, **arrays: Any) -> None:
    signature = np.frombuffer(make_signature(EMBEDDINGS).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, written_by=signature, **arrays)
