"""Methods side by side: each trained where it has to be, asked the same queries, and scored alike in one table.

Dials are chosen on the validation queries of each benchmark, for every method alike: the weight of the text in the sum
and in slerp, the offset of the product, the guidance of a trained network. Differences are paired: the same concepts
are drawn for both methods.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compodiff.benchmarks.answers import QueryArrays, RetrievalModel, read_gallery_vectors
from compodiff.benchmarks.baselines import CHOSEN_BY
from compodiff.benchmarks.reranking import rerank, score_reranked
from compodiff.benchmarks.scoring.ranking import Floats, Reals
from compodiff.benchmarks.scoring.scorer import Scorer
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.benchmarks.training_free import Corpora
from compodiff.encoders.reranking import Reranking
from compodiff.experiments.embedded_benchmark import EmbeddedBenchmark
from compodiff.experiments.methods import Answer, FreeMethod, Question, TrainedMethod, choose_answerable
from compodiff.experiments.outcome import Chart, ExperimentOutcome, Measurement, Value
from compodiff.experiments.setup import ExperimentSetup
from compodiff.experiments.training import Trained, find_pipeline_model, open_all_data, plan_steps, train_both_stages
from compodiff.experiments.variants import VariantData
from compodiff.outcomes import Bootstrap
from compodiff.params import SamplingParams
from compodiff.speed.apart import measure
from compodiff.training.examples import TARGET, TEXT

GUIDANCE = (1.0, 1.5, 2.0, 3.0)  # weights of the text that are tried for a trained network, beside the params' own
KNOWN = 4096  # pictures and texts at most that BASIC knows beforehand
QUESTION = "Which method composes best?"
Ask = Callable[[QueryArrays, Vectors], Answer]
Dial = tuple[float, ...]  # of a trained network: w_image and w_text


@dataclass(frozen=True)
class CompareSetup:
    """What is compared on.

    Attributes:
        by_name: benchmark -> the setup that reports on it, and the one that chooses dials.
        seeds: trainings of each method that is trained.
        seconds: of each training; None for the steps that the setup says.
        reranking: gives each method a second row, of its rankings looked at again.
    """

    by_name: Mapping[str, tuple[ExperimentSetup, ExperimentSetup]]
    seeds: int
    seconds: float | None
    reranking: Reranking | None = None

    @classmethod
    def of_project(
        cls, project: Path, names: Sequence[str], split: str, steps: int | None, seconds: float | None, seeds: int
    ) -> "CompareSetup":
        """Open benchmarks of params.yaml.

        Raises:
            InputInvalid: there is no such benchmark or split.
        """

        def open_split(name: str, wanted: str) -> ExperimentSetup:
            opened = ExperimentSetup.of_project(project, name, None, wanted, steps)
            return replace(opened, work=opened.work.parents[1] / "compared")

        by_name = {name: (open_split(name, split), open_split(name, "validation")) for name in names}
        return cls(by_name, seeds, seconds)

    @property
    def first(self) -> ExperimentSetup:
        """Return the setup that trains."""
        return next(iter(self.by_name.values()))[0]


@dataclass(frozen=True)
class Answered:
    """What one method came to on one benchmark, over its seeds.

    Attributes:
        outcomes: metric -> outcome of each scored query, for each part, the mean over seeds.
        concepts: of each scored query, for each part.
        spread: metric -> standard deviation over seeds of its mean.
        costs: what the method takes, by name.
        dials: that were chosen, one for each seed.
    """

    outcomes: Sequence[Mapping[str, Reals]]
    concepts: Sequence[Sequence[str]]
    spread: Mapping[str, float]
    costs: Mapping[str, float]
    dials: Sequence[Dial]

    @property
    def metrics(self) -> dict[str, float]:
        """Return each metric, the mean over parts."""
        return {name: float(np.mean([part[name].mean() for part in self.outcomes])) for name in self.outcomes[0]}

    def subtract(self, other: "Answered") -> list[dict[str, Reals]]:
        """Return the difference of each query's outcomes to another method's."""
        both = zip(self.outcomes, other.outcomes, strict=True)
        return [{name: mine[name] - theirs[name] for name in mine} for mine, theirs in both]


def compare_methods(setup: CompareSetup, methods: Mapping[str, FreeMethod | TrainedMethod]) -> Iterator[Measurement]:
    """Yield one point for each method and benchmark; differences are to the first method that is asked of it.

    Methods that need texts among pictures are left out where the encoder has none.

    Raises:
        InputInvalid: no method is left; or a set is not there, or lacks what a training draws from it.
    """
    methods = choose_answerable(methods, setup.first.embeddings.encoder)
    data, evaluation = open_all_data(setup.first), setup.first.params.evaluation
    corpora = gather_corpora(data)
    bootstrap = Bootstrap(evaluation.bootstrap_draws, evaluation.seed)
    firsts: dict[str, Answered] = {}
    for name, method in methods.items():
        trained = list(train_method(method, setup, data)) if isinstance(method, TrainedMethod) else []
        for benchmark, (reported, chosen_on) in setup.by_name.items():
            if isinstance(method, TrainedMethod):
                each = [answer_trained(one, reported, chosen_on, setup.reranking) for one in trained]
            else:
                each = [answer_free(method, reported, chosen_on, corpora, setup.reranking)]
            for ending, *rows in zip(("", " + reranker"), *each, strict=False):
                answered = merge_seeds(rows)
                first = firsts.setdefault(benchmark, answered)
                settings = {"method": f"{name}{ending}", "benchmark": benchmark}
                yield describe_point(settings, answered, first, bootstrap)


def train_method(method: TrainedMethod, setup: CompareSetup, data: VariantData) -> Iterator[Trained]:
    """Train a method once for each seed, or find what an earlier run trained by the same params."""
    for seed in range(setup.seeds):
        own = replace(setup.first, params=method.change(setup.first.params, seed))
        own = own if setup.seconds is None else plan_steps(own, data, setup.seconds)
        yield find_pipeline_model(own) or train_both_stages(own, data)


def answer_trained(
    trained: Trained, reported: ExperimentSetup, chosen_on: ExperimentSetup, reranking: Reranking | None
) -> list[Answered]:
    """Ask a trained model with the guidance that is best on validation queries; then as `ask` says."""

    def guide(dial: Dial) -> RetrievalModel:
        return trained.model.sample_with(chosen_on.change_sampling(w_image=dial[0], w_text=dial[1]))

    def rate(dial: Dial) -> tuple[float, ...]:
        return _rate(chosen_on.benchmark.answer(guide(dial), "w_image {:g}, w_text {:g}".format(*dial)))

    best = max(list_guidance(chosen_on.params.sampling), key=rate)
    parameters = sum(each.numel() for each in trained.model.denoiser.parameters())
    costs = {"parameters": parameters, "training_seconds": trained.seconds}
    return [
        replace(answered, costs={**costs, **answered.costs})
        for answered in ask(
            reported.benchmark,
            lambda asked, gallery: (gallery, guide(best).answer(asked, "answering")),
            best,
            reranking,
        )
    ]


def list_guidance(own: SamplingParams) -> list[Dial]:
    """Return the weights of image and text that are tried for a trained network."""
    return [(image, text) for image in sorted({1.0, own.w_image}) for text in sorted({*GUIDANCE, own.w_text})]


def answer_free(
    method: FreeMethod,
    reported: ExperimentSetup,
    chosen_on: ExperimentSetup,
    corpora: Corpora,
    reranking: Reranking | None,
) -> list[Answered]:
    """Ask a method without training with the dial that is best on validation queries; then as `ask` says."""

    def ask_with(value: float) -> Ask:
        return lambda asked, gallery: method.answer(Question(asked, gallery, corpora), value)

    values = method.list_values(reported.params.evaluation)
    best = values[0]
    if len(values) > 1:
        best = max(values, key=lambda value: _rate(ask(chosen_on.benchmark, ask_with(value), (value,))[0].metrics))
    costs = {"parameters": 0, "training_seconds": 0.0}
    return [
        replace(answered, costs={**costs, **answered.costs})
        for answered in ask(reported.benchmark, ask_with(best), (best,), reranking)
    ]


def ask(benchmark: EmbeddedBenchmark, answer: Ask, dial: Dial, reranking: Reranking | None = None) -> list[Answered]:
    """Ask every part of a benchmark, score the answers and measure what answering takes; then what reranking adds."""
    scorer, answers = Scorer(chunk=benchmark.chunk, skip_missing=True), list[Answer]()
    gallery = read_gallery_vectors(benchmark.source.embeddings)

    def work() -> None:
        answers.extend(answer(asked, gallery) for asked in benchmark.asked)

    cost = measure(lambda: work)
    scored = [
        scorer.score(part, vectors, similarity)
        for part, (vectors, similarity) in zip(benchmark.parts, answers, strict=True)
    ]
    answered = Answered(
        outcomes=[dict(part.outcomes) for part in scored],
        concepts=[[query.concept for query in part.kept] for part in scored],
        spread={},
        costs={"milliseconds_per_query": 1000 * cost.seconds / benchmark.queries, "megabytes": cost.megabytes},
        dials=(dial,),
    )
    if reranking is None:
        return [answered]
    start = time.perf_counter()
    lists = [
        rerank(part, *answered_by, reranking, benchmark.chunk)
        for part, answered_by in zip(scored, answers, strict=True)
    ]
    added = 1000 * (time.perf_counter() - start) / benchmark.queries
    outcomes = [dict(score_reranked(part, ranked)) for part, ranked in zip(scored, lists, strict=True)]
    costs = {**answered.costs, "milliseconds_per_query": answered.costs["milliseconds_per_query"] + added}
    return [answered, replace(answered, outcomes=outcomes, costs=costs)]


def merge_seeds(answered: Sequence[Answered]) -> Answered:
    """Return the mean over trainings of each query's outcomes and of what they cost."""
    first, parts = answered[0], range(len(answered[0].outcomes))
    outcomes = [
        {name: np.mean([one.outcomes[part][name] for one in answered], axis=0) for name in first.outcomes[part]}
        for part in parts
    ]
    means = [one.metrics for one in answered]
    spread = {name: float(np.std([one[name] for one in means])) for name in means[0]} if len(means) > 1 else {}
    costs = {name: float(np.mean([one.costs[name] for one in answered])) for name in first.costs}
    return Answered(outcomes, first.concepts, spread, costs, tuple(one.dials[0] for one in answered))


def describe_point(
    settings: Mapping[str, Value], answered: Answered, first: Answered, bootstrap: Bootstrap
) -> Measurement:
    """Return a row of the table: each metric with its interval, its spread and its difference to the first method."""
    intervals = bootstrap.estimate_intervals(answered.outcomes, answered.concepts)
    differences = bootstrap.estimate_intervals(answered.subtract(first), answered.concepts)
    reference, values = first.metrics, dict[str, float]()
    for name, value in answered.metrics.items():
        values |= {name: value, f"{name}_low": intervals[name][0], f"{name}_high": intervals[name][1]}
        values |= {f"{name}_spread": answered.spread[name]} if answered.spread else {}
        low, high = differences[name]
        values |= {f"{name}_gain": value - reference[name], f"{name}_gain_low": low, f"{name}_gain_high": high}
    dial = ", ".join(f"{np.mean(each):g}" for each in zip(*answered.dials, strict=True))
    return Measurement({**settings, "dial": dial, "seeds": len(answered.dials)}, values | dict(answered.costs))


def gather_corpora(data: VariantData) -> Corpora:
    """Gather what BASIC knows beforehand, from the sets that trainings learn from."""
    pictures, captions, relative = list[Any](), list[Any](), list[Any]()
    for own in data.sets.values():
        pairs, triplets = own.open_table("text_to_image"), own.open_table("triplet")
        pictures.append(own.embeddings.images[np.unique(pairs[:, TARGET])])  # whole, as texts and galleries are
        captions.append(own.embeddings.texts_pooled[np.unique(pairs[:, TEXT])])
        relative.append(own.embeddings.texts_pooled[np.unique(triplets[:, TEXT])])
    return Corpora(*(_take_some(np.concatenate(each).astype(np.float32)) for each in (pictures, captions, relative)))


def _take_some(vectors: Floats) -> Floats:
    """Return at most KNOWN of the vectors, at equal distances."""
    return vectors[:: max(1, -(-len(vectors) // KNOWN))]


def pick_metrics(metrics: Mapping[str, float]) -> list[str]:
    """Return the metrics that a table shows: what dials are chosen by, or the first."""
    return [name for name in CHOSEN_BY if name in metrics] or [next(iter(metrics))]


def _rate(metrics: Mapping[str, float]) -> tuple[float, ...]:
    """Return what dials are chosen by."""
    return tuple(metrics[name] for name in pick_metrics(metrics))


def make_outcome(setup: CompareSetup, points: Sequence[Measurement], sources: Mapping[str, str]) -> ExperimentOutcome:
    """Return the points with what they were measured on, to be written as any experiment's."""
    reported = {name: both[0].benchmark for name, both in setup.by_name.items()}
    metric = pick_metrics(points[0].metrics)[0]
    notes = {
        "benchmarks": {name: own.name for name, own in reported.items()},
        "queries": {name: own.queries for name, own in reported.items()},
        "sources": dict(sources),
        "seeds": setup.seeds,
        "training_steps": setup.first.training_steps,
        "training_seconds": setup.seconds,
        **({"reranked": setup.reranking.top, "reranker": setup.reranking.name} if setup.reranking else {}),
    }
    return ExperimentOutcome("compare", QUESTION, points, Chart("bars", "method", metric, by=("benchmark",)), notes)
