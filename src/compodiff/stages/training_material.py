"""What the training stages share: the machine's precision, queries of a benchmark to be measured on, material."""

import os
import sys
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

from compodiff.benchmarks.datasets.assembled import Assembled
from compodiff.embeddings import Embeddings
from compodiff.errors import InputInvalid
from compodiff.params import TrainingParams
from compodiff.precision import choose_precision, describe_choice
from compodiff.training.curve import CurveQueries
from compodiff.training.examples import NOTHING, NULL_TEXT
from compodiff.training.fit import Material
from compodiff.training.mixture import CURVE, load_mixture

Training = TypeVar("Training", bound=TrainingParams)


def with_precision(params: Training, stage: str) -> Training:
    """Return `params` with the precision that this machine trains in, and say which: model card and run name it.

    Args:
        params: of a training.
        stage: named in what is said.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if os.environ.get("RANK", "0") == "0":
        tqdm.write(f"{stage} computes in {describe_choice(params.precision, device)}", file=sys.stderr)
    return params.model_copy(update={"precision": choose_precision(params.precision, device)})


def load_material(mixture: Path, embeddings: Path, validated: Path) -> Material:
    """Open what a training learns from and is measured on, as the stage mix checked it.

    Raises:
        InputInvalid: a set was made anew or removed since.
    """
    return Material(load_mixture(mixture, embeddings, validated), CurveQueries.load(mixture / CURVE))


def take_queries_of_benchmark(assembled: Assembled, embeddings: Embeddings, most: int, seed: int) -> CurveQueries:
    """Take queries from a benchmark's validation split, or from the scored one where it has no other.

    Args:
        assembled: the benchmark; the galleries of several parts are one here.
        embeddings: of it.
        most: queries, drawn by `seed`.
        seed: of the draw.

    Raises:
        InputInvalid: targets are hidden, or a picture or text is not embedded.
    """
    parts = assembled.load(assembled.validation or assembled.split)
    queries = [query for part in parts for query in part.queries if query.targets]
    if not queries:
        raise InputInvalid(f"the targets of the benchmark {assembled.name} are hidden; name another for the curve")
    drawn = np.sort(np.random.default_rng(seed).permutation(len(queries))[:most])
    asked = [queries[number] for number in drawn]
    named = (name for part in parts for name in (part.gallery or part.ranked_pictures))
    gallery = [name for name in dict.fromkeys(named) if name in embeddings.picture_row]
    place = {name: number for number, name in enumerate(gallery)}
    try:
        hits = [(number, place[name]) for number, query in enumerate(asked) for name in query.targets]
        texts = [embeddings.text_row[query.texts[0]] for query in asked]
        references = [embeddings.picture_row[query.reference] for query in asked]
    except KeyError as error:
        raise InputInvalid(
            f"a query of {assembled.name} names {error}, which is not embedded; "
            f"run: dvc repro embed_benchmark@{assembled.name}"
        ) from error
    tokens, lengths = embeddings.tokens(texts)
    null_tokens, _ = embeddings.tokens([NULL_TEXT])
    return CurveQueries(
        tokens,
        lengths,
        null_tokens,
        references=np.asarray(embeddings.pictures[references], np.float32),
        gallery=np.asarray(embeddings.pictures[[embeddings.picture_row[name] for name in gallery]], np.float32),
        hits=np.array(hits, np.int64),
        own=np.array([place.get(query.reference, NOTHING) for query in asked], np.int64),
    )
