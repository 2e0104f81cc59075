"""The stage mix@STAGE: what a training learns from and is measured on, checked. Run: compodiff run mix@composed."""

from pathlib import Path
from typing import Annotated

from compodiff.benchmarks.datasets.assembled import open_assembled
from compodiff.embeddings import Embeddings, SetEmbeddings
from compodiff.params import TrainingParams
from compodiff.stages.declaration import Input, Item, Output
from compodiff.stages.training_material import take_queries_of_benchmark
from compodiff.storage.atomic import atomic_folder, write_json
from compodiff.training.curve import CurveQueries, take_queries_of_set
from compodiff.training.mixture import CURVE, FILE, describe_mixture


def mix(
    *,
    params: Annotated[TrainingParams, Item("", "tasks", "curve", "seed")],
    embeddings: Annotated[Path, Input("artifacts/embeddings")],
    validated: Annotated[Path, Input("artifacts/validation")],
    benchmarks: Annotated[Path, Input("artifacts/benchmarks")],
    benchmark_embeddings: Annotated[Path, Input("artifacts/benchmark_embeddings")],
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
        arrays = SetEmbeddings.load(embeddings / curve.set)
        queries = take_queries_of_set(arrays, validated / curve.set, curve.queries, params.seed)
    else:
        assembled = open_assembled(benchmarks / str(curve.benchmark))
        embedded = Embeddings.load(benchmark_embeddings / str(curve.benchmark))
        queries = take_queries_of_benchmark(assembled, embedded, curve.queries, params.seed)
    with atomic_folder(folder, "mixture") as temporary:
        write_json(temporary / FILE, described)
        queries.save(temporary / CURVE)
