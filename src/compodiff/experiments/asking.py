"""Experiments on a trained model: how it is asked."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from compodiff.benchmarks.answers import QueryArrays, read_gallery_vectors
from compodiff.benchmarks.datasets.benchmark import Benchmark
from compodiff.benchmarks.edited_regions import measure_edits
from compodiff.benchmarks.run import ask_queries
from compodiff.errors import InputInvalid
from compodiff.experiments.embedded_benchmark import EmbeddedBenchmark
from compodiff.experiments.outcome import Measurement
from compodiff.experiments.setup import ExperimentSetup
from compodiff.outcomes import Bootstrap

SOLVERS = ("ddim", "dpm_solver", "unipc")
STEPS = (1, 2, 5, 10, 25, 50)
DRAWS = (1, 2, 4, 8)
FUSIONS = ("average", "mean_score", "max_score")
W_IMAGE = (0.5, 1.0, 1.5, 2.0, 3.0)
W_TEXT = (0.0, 1.0, 2.0, 3.0, 5.0, 7.5)
PRESERVING = (0.5, 1.0, 2.0)
EDITING = (1.0, 2.0, 4.0)


def vary_steps_and_solver(setup: ExperimentSetup) -> Iterator[Measurement]:
    """Vary the solver and the number of network calls, and time a query (paper table 8 has one solver)."""
    for solver in SOLVERS:
        for steps in STEPS:
            sampling = setup.change_sampling(solver=solver, grid="trailing", num_inference_steps=steps)
            metrics = setup.benchmark.answer(setup.load_composed(sampling), f"{solver}, {steps} steps")
            yield Measurement({"solver": solver, "num_inference_steps": steps}, metrics)
    sampling = setup.change_sampling(solver="mean", num_inference_steps=1)
    yield Measurement(
        {"solver": "mean", "num_inference_steps": 1}, setup.benchmark.answer(setup.load_composed(sampling), "mean")
    )


def vary_draws_and_fusion(setup: ExperimentSetup) -> Iterator[Measurement]:
    """Vary draws and their fusion: of the sampler as it is, whose draws hardly differ, and of one with noise."""
    noisy = setup.change_sampling(solver="ddim", grid="trailing", eta=1.0, num_inference_steps=10)
    for sampling in (setup.params.sampling, noisy):
        sampler = f"{sampling.solver}, eta {sampling.eta:g}, {sampling.num_inference_steps} steps"
        for fusion in FUSIONS:
            for draws in DRAWS:
                own = sampling.model_copy(update={"draws": draws, "fusion": fusion})
                metrics = setup.benchmark.answer(setup.load_composed(own), f"{sampler}, {draws} draws, {fusion}")
                yield Measurement({"sampler": sampler, "fusion": fusion, "draws": draws}, metrics)


def vary_guidance(setup: ExperimentSetup) -> Iterator[Measurement]:
    """Vary the two guidance weights against each other."""
    for w_image in W_IMAGE:
        for w_text in W_TEXT:
            answering = setup.load_composed(setup.change_sampling(w_image=w_image, w_text=w_text))
            metrics = setup.benchmark.answer(answering, f"w_image {w_image:g}, w_text {w_text:g}")
            yield Measurement({"w_image": w_image, "w_text": w_text}, metrics)


def vary_conditions(setup: ExperimentSetup) -> Iterator[Measurement]:
    """Vary which conditions are present. A query takes part in `negative` and `mask` where it has one."""
    benchmark, model = setup.benchmark.ask_plainly(), setup.load_composed()
    alone = replace(model, has_reference=False)
    yield Measurement({"conditions": "text", "queries": benchmark.queries}, benchmark.answer(alone, "text"))
    wordless = replace(benchmark, asked=tuple(replace(asked, text=asked.negative) for asked in benchmark.asked))
    yield Measurement({"conditions": "reference", "queries": benchmark.queries}, wordless.answer(model, "reference"))
    yield Measurement({"conditions": "both", "queries": benchmark.queries}, benchmark.answer(model, "both"))
    for name, select in (("negative", select_negatives), ("mask", select_masked)):
        changed = [found for part in benchmark.parts if (found := select(part, benchmark)) is not None]
        if not changed:
            continue
        parts, own = zip(*changed, strict=True)
        special = replace(benchmark, parts=parts, asked=own)
        plain = special.ask_plainly()
        yield Measurement({"conditions": f"both, of {name}", "queries": special.queries}, plain.answer(model, "both"))
        yield Measurement({"conditions": f"both + {name}", "queries": special.queries}, special.answer(model, name))


def vary_preservation(setup: ExperimentSetup) -> Iterator[Measurement]:
    """Vary the guidance weights, and measure what answers keep of the reference and what of the edit arrives.

    Raises:
        InputInvalid: no query of the benchmark says where reference and target differ.
    """
    evaluation, vectors = setup.params.evaluation, read_gallery_vectors(setup.embeddings)
    bootstrap = Bootstrap(evaluation.bootstrap_draws, evaluation.seed)
    for w_image in PRESERVING:
        for w_text in EDITING:
            label = f"w_image {w_image:g}, w_text {w_text:g}"
            model = setup.load_composed(setup.change_sampling(w_image=w_image, w_text=w_text))
            rows, metrics = setup.benchmark.ask(model, label)
            edits = measure_edits(
                {label: rows}, vectors, setup.regions, bootstrap, evaluation.edited_queries, evaluation.chunk
            )
            if not edits:
                raise InputInvalid(f"no query of {setup.benchmark.name} says what is edited; ask --benchmark scenes")
            own = {name: mean for name, (mean, _, _) in edits[label].items()}
            yield Measurement({"w_image": w_image, "w_text": w_text}, own | metrics)


def select_negatives(part: Benchmark, benchmark: EmbeddedBenchmark) -> tuple[Benchmark, QueryArrays] | None:
    """Select the queries with a negative text: their own, or the caption of the query that goes the other way."""
    embeddings = benchmark.source.embeddings
    captions = {(query.reference, target): query.texts[0] for query in part.queries for target in query.targets}
    queries, negatives = [], []
    for query in part.queries:
        back = (captions.get((target, query.reference)) for target in query.targets)
        negative = query.negative or next((caption for caption in back if caption), "")
        if negative and len(query.texts) == 1:
            queries.append(query)
            negatives.append(embeddings.text_row[negative])
    if not queries:
        return None
    some = replace(part, queries=tuple(queries))
    return some, replace(QueryArrays.of(some, embeddings), negative=np.array(negatives))


def select_masked(part: Benchmark, benchmark: EmbeddedBenchmark) -> tuple[Benchmark, QueryArrays] | None:
    """Select the queries that mask a region of their reference, asked with that region masked."""
    queries = tuple(query for query in part.queries if query.mask)
    if not queries:
        return None
    some = replace(part, queries=queries)
    return some, ask_queries(some, benchmark.source)
