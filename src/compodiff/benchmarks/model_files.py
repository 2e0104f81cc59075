"""What a model makes of a benchmark, as files: embeddings that `score` and `submit` read, or a test server's files.

The way is that of `run`: the same pictures, embeddings, cache and answers, of which nothing is scored here.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from compodiff.benchmarks.answers import read_gallery_vectors
from compodiff.benchmarks.report.comparison import COMPOSED
from compodiff.benchmarks.run import BenchmarkRun, ask_queries
from compodiff.benchmarks.scoring.ranking import Similarity
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
    """Write the gallery's embeddings and the model's answers, each file whole or not at all; return how many.

    `queries` holds (Q, D), or (Q, S, D) of a model that answers with S embeddings; queries stand in the order of the
    annotation files, one part after the other.

    Raises:
        InputInvalid: a picture, a text or a mask has no embedding, or a file is somebody's.
        ResourceUnavailable: the disk is full.
    """
    answers = [answer for answer, _ in _answer_parts(run)]
    vectors = read_gallery_vectors(run.source.embeddings)
    composed = np.concatenate([np.stack(each.parts, axis=1) for each in answers])  # (Q, S, D)
    if composed.shape[1] == 1:
        composed = composed[:, 0]
    _write_arrays(gallery, ids=np.array(vectors.ids), embeddings=vectors.embeddings)
    _write_arrays(queries, embeddings=composed)
    return len(vectors.ids), len(composed)


def write_model_submission(run: BenchmarkRun, name: str, out: Path) -> list[Path]:
    """Write the test server's files, and what they depend on, as the folder `out`; return the files.

    Raises:
        InputInvalid: a picture, a text or a mask has no embedding, or the server would refuse a file.
        ResourceUnavailable: the disk is full.
    """
    ((answer, record),) = _answer_parts(run)
    vectors = read_gallery_vectors(run.source.embeddings)
    return write_submission(name, out, run.parts[0], vectors, answer, run.evaluation.chunk, record)


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
    with replace_path(path, EMBEDDINGS) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, written_by=signature, **arrays)
