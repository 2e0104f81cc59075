"""The stage mix@STAGE: what a training learns from and is measured on, checked. Run: compodiff run mix@composed."""

from pathlib import Path
from typing import Annotated

import numpy as np

from compodiff.benchmarks.datasets.assembled import Assembled, open_assembled
from compodiff.embeddings import Embeddings, SetEmbeddings, TextTower
from compodiff.errors import InputInvalid
from compodiff.params import TrainingParams
from compodiff.stages.declaration import Input, Item, Output
from compodiff.storage.atomic import replace_folder, write_json
from compodiff.training.curve import CurveQueries, take_queries_of_set
from compodiff.training.examples import NOTHING, NULL_TEXT
from compodiff.training.mixture import CURVE, FILE, describe_mixture


def mix(
    *,
    params: Annotated[TrainingParams, Item("", "tasks", "curve", "seed")],
    embeddings: Annotated[Path, Input("artifacts/embeddings")],
    validated: Annotated[Path, Input("artifacts/validation")],
    benchmarks: Annotated[Path, Input("artifacts/benchmarks")],
    benchmark_embeddings: Annotated[Path, Input("artifacts/benchmark_embeddings")],
    encoder: Annotated[Path, Input("artifacts/encoder")],
    folder: Annotated[Path, Output("artifacts/mixtures/{key}")],
) -> None:
    """Check the sets that a training draws from, and gather the queries of its curve.

    Raises:
        InputInvalid: a set lacks what a task draws from it, or is not there.
        EncoderMismatch: two sets were embedded by different encoders.
    """
    described = describe_mixture(params.tasks, embeddings, validated)
    curve = params.curve
    queries: CurveQueries
    if curve.set is not None:
        arrays = SetEmbeddings.load(embeddings / curve.set, tower=TextTower(encoder))
        queries = take_queries_of_set(arrays, validated / curve.set, curve.queries, params.seed)
    else:
        assembled = open_assembled(benchmarks / str(curve.benchmark))
        embedded = Embeddings.load(benchmark_embeddings / str(curve.benchmark))
        queries = take_queries_of_benchmark(assembled, embedded, curve.queries, params.seed)
    with replace_folder(folder, "mixture") as temporary:
        write_json(temporary / FILE, described)
        queries.save(temporary / CURVE)


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
    learned = embeddings.pictures[:, : embeddings.encoder.learned_dim]
    return CurveQueries(
        texts=embeddings.read_tokens(texts),
        null_text=embeddings.read_tokens([NULL_TEXT]),
        references=np.asarray(learned[references], np.float32),
        gallery=np.asarray(learned[[embeddings.picture_row[name] for name in gallery]], np.float32),
        hits=np.array(hits, np.int64),
        own=np.array([place.get(query.reference, NOTHING) for query in asked], np.int64),
    )
