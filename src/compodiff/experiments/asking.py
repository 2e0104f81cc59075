"""Experiments on a trained model: how it is asked."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from compodiff.benchmarks.answers import QueryArrays
from compodiff.benchmarks.datasets.benchmark import Benchmark
from compodiff.experiments.embedded_benchmark import EmbeddedBenchmark
from compodiff.experiments.outcome import Measurement
from compodiff.experiments.setup import ExperimentSetup

SOLVERS = ("ddim", "dpm_solver", "unipc")
STEPS = (1, 2, 5, 10, 25, 50)
DRAWS = (1, 2, 4, 8)
FUSIONS = ("average", "mean_score", "max_score")
W_IMAGE = (0.5, 1.0, 1.5, 2.0, 3.0)
W_TEXT = (0.0, 1.0, 2.0, 3.0, 5.0, 7.5)


def vary_steps_and_solver(ground: ExperimentSetup) -> Iterator[Measurement]:
    """Vary solvers by number of network calls, with the seconds that a query takes (paper table 8 has one solver)."""
    for solver in SOLVERS:
        for steps in STEPS:
            sampling = ground.change_sampling(solver=solver, grid="trailing", num_inference_steps=steps)
            metrics = ground.bench.answer(ground.load_composed(sampling), f"{solver}, {steps} steps")
            yield Measurement({"solver": solver, "num_inference_steps": steps}, metrics)
    sampling = ground.change_sampling(solver="mean", num_inference_steps=1)
    metrics = ground.bench.answer(ground.load_composed(sampling), "mean")
    yield Measurement({"solver": "mean", "num_inference_steps": 1}, metrics)


def vary_draws_and_fusion(ground: ExperimentSetup) -> Iterator[Measurement]:
    """Vary draws and their fusion: of the sampler as it is, whose draws hardly differ, and of one that adds noise."""
    noisy = ground.change_sampling(solver="ddim", grid="trailing", eta=1.0, num_inference_steps=10)
    for sampling in (ground.params.sampling, noisy):
        sampler = f"{sampling.solver}, eta {sampling.eta:g}, {sampling.num_inference_steps} steps"
        for fusion in FUSIONS:
            for draws in DRAWS:
                own = sampling.model_copy(update={"draws": draws, "fusion": fusion})
                metrics = ground.bench.answer(ground.load_composed(own), f"{sampler}, {draws} draws, {fusion}")
                yield Measurement({"sampler": sampler, "fusion": fusion, "draws": draws}, metrics)


def vary_guidance(ground: ExperimentSetup) -> Iterator[Measurement]:
    """Vary the two guidance weights against each other."""
    for w_image in W_IMAGE:
        for w_text in W_TEXT:
            answering = ground.load_composed(ground.change_sampling(w_image=w_image, w_text=w_text))
            metrics = ground.bench.answer(answering, f"w_image {w_image:g}, w_text {w_text:g}")
            yield Measurement({"w_image": w_image, "w_text": w_text}, metrics)


def vary_conditions(ground: ExperimentSetup) -> Iterator[Measurement]:
    """Vary which conditions are present. A query takes part in `negative` and `mask` where it has one."""
    bench, model = ground.bench, ground.load_composed()
    alone = replace(model, has_reference=False)
    yield Measurement({"conditions": "text", "queries": bench.queries}, bench.answer(alone, "text"))
    wordless = replace(bench, asked=tuple(replace(asked, text=asked.negative) for asked in bench.asked))
    yield Measurement({"conditions": "reference", "queries": bench.queries}, wordless.answer(model, "reference"))
    yield Measurement({"conditions": "both", "queries": bench.queries}, bench.answer(model, "both"))
    for name, change in (("negative", add_negatives), ("mask", add_masks)):
        both = zip(bench.parts, bench.asked, strict=True)
        changed = [found for part, asked in both if (found := change(part, asked)) is not None]
        if not changed:
            continue
        parts, own = zip(*changed, strict=True)
        special = EmbeddedBenchmark(bench.name, parts, own, bench.chunk)
        plain = special.replace_embeddings(own[0].embeddings)
        yield Measurement({"conditions": f"both, of {name}", "queries": special.queries}, plain.answer(model, "both"))
        yield Measurement({"conditions": f"both + {name}", "queries": special.queries}, special.answer(model, name))


def add_negatives(part: Benchmark, asked: QueryArrays) -> tuple[Benchmark, QueryArrays] | None:
    """Return the queries with a negative text: their own, or the caption of the query that goes the other way."""
    captions = {(query.reference, target): query.texts[0] for query in part.queries for target in query.targets}
    rows, negatives = [], []
    for place, query in enumerate(part.queries):
        back = (captions.get((target, query.reference)) for target in query.targets)
        negative = query.negative or next((caption for caption in back if caption), "")
        if negative and len(query.texts) == 1:
            rows.append(place)
            negatives.append(asked.embeddings.text_row[negative])
    if not rows:
        return None
    some = replace(part, queries=tuple(part.queries[row] for row in rows))
    return some, replace(QueryArrays.of(some, asked.embeddings), negative=np.array(negatives))


def add_masks(part: Benchmark, asked: QueryArrays) -> tuple[Benchmark, QueryArrays] | None:
    """Return the queries whose reference was embedded with a region masked, asked with that region masked."""
    masked = {name: row for row, name in enumerate(asked.embeddings.masked_pictures)}
    rows = [place for place, query in enumerate(part.queries) if query.reference in masked]
    if not rows:
        return None
    some = replace(part, queries=tuple(part.queries[row] for row in rows))
    variants = [masked[query.reference] for query in some.queries]
    masks = torch.from_numpy(asked.embeddings.read_masks(variants))
    return some, QueryArrays.of(some, asked.embeddings).mask_references(asked.embeddings.masked[variants], masks)
