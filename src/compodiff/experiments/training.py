"""Experiments that train: each variant is a short training of its own, kept, so that a killed run continues."""

import hashlib
import json
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from compodiff.benchmarks.answers import RetrievalModel
from compodiff.benchmarks.datasets.assembled import open_assembled
from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import Embeddings
from compodiff.errors import InputInvalid
from compodiff.experiments.embedded_benchmark import EmbeddedBenchmark, make_caption_benchmark
from compodiff.experiments.outcome import Measurement
from compodiff.experiments.setup import ARTIFACTS, ExperimentSetup
from compodiff.experiments.variants import EVERYTHING, TextView, VariantData, list_views, reduce_texts
from compodiff.model.checkpoint import ModelCard, load_model
from compodiff.model.network.denoiser import DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.params import TaskShares, TrainingParams
from compodiff.precision import choose_device, choose_precision
from compodiff.stages.mix import take_queries_of_benchmark
from compodiff.training.curve import CurveQueries, read_seconds, take_queries_of_set
from compodiff.training.fit import TrainingMaterial, fit, make_denoiser

MIXES = {
    "triplets only": (0.0, 0.0, 1.0),
    "text 30, triplets 70": (0.3, 0.0, 0.7),
    "text 30, masked 30, triplets 40": (0.3, 0.3, 0.4),
    "text 60, masked 20, triplets 20": (0.6, 0.2, 0.2),
}
FRACTIONS = (0.05, 0.1, 0.25, 0.5, 1.0)
OBJECTIVES = ("diffusion", "regression", "flow_matching")
STYLES = ("openmoji", "twemoji")
CALLS = (1, 2, 5, 10)
PROBED_STEPS = 30  # that tell how long a training takes


def vary_task_mix(setup: ExperimentSetup) -> Iterator[Measurement]:
    """Vary the tasks of stage 2; measure what is left of text-to-image retrieval (paper: 22.47 falls to 20.00)."""
    data = open_all_data(setup)
    texts = open_caption_benchmark(setup, data)
    yield Measurement({"tasks": "stage 1 alone"}, _measure_both(setup.benchmark, texts, setup.load_prior()))
    for name, mix in MIXES.items():
        tasks = share_tasks(setup.params.composed.tasks, mix)
        model = train_stage_two(setup, data, setup.params.composed.model_copy(update={"tasks": tasks}))
        yield Measurement({"tasks": name}, _measure_both(setup.benchmark, texts, model))


def vary_data_scale(setup: ExperimentSetup) -> Iterator[Measurement]:
    """Vary the share of the triplets; the notes fit recall = a + b log2(triplets)."""
    data, composed = open_all_data(setup), setup.params.composed
    for fraction in FRACTIONS:
        some = data.cut_triplets(fraction, composed.seed)
        count = sum(len(some.sets[name].open_table("triplet")) for name in composed.tasks.triplet)
        model = train_stage_two(setup, some, composed)
        metrics = setup.benchmark.answer(model, f"{count:,} triplets")
        yield Measurement({"fraction": fraction, "triplets": count}, metrics)


def vary_text_encoder(setup: ExperimentSetup) -> Iterator[Measurement]:
    """Vary what the network sees of the text: the token states of some text encoders, their mean, the pooled embedding.

    Where an encoder has several text parts, this is the paper's comparison of CLIP, T5 and both: stages 1 and 2 are
    trained anew for each, on the same pictures and texts.
    """
    for view in list_views(setup.embeddings.encoder):
        data = open_all_data(setup, view)
        model = train_stage_two(setup, data, setup.params.composed, start=train_stage_one(setup, data))
        benchmark = setup.benchmark.replace_embeddings(reduce_texts(setup.embeddings, view))
        yield Measurement({"text": view.name}, benchmark.answer(model, view.name))


def transfer_domain(setup: ExperimentSetup) -> Iterator[Measurement]:
    """Train on one style of emoji, or both, and test on each (a benchmark of other pictures is tested as it is)."""
    data, benchmark = open_all_data(setup), setup.benchmark
    style = {str(name): own for name, own in Catalogue.load(setup.project / "data").pictures["style"].items()}
    has_styles = all(name in style for part in benchmark.parts for name in part.named_pictures)
    for trained in (*STYLES, "both"):
        styles = STYLES if trained == "both" else (trained,)
        names = frozenset(name for name, own in style.items() if own in styles)
        own = data.select_pictures(names, f"style: {trained}")
        model = train_stage_two(setup, own, setup.params.composed, start=train_stage_one(setup, own))
        for tested in STYLES if has_styles else (benchmark.name,):
            asked = _select_style(benchmark, style, tested) if has_styles else benchmark
            yield Measurement(
                {"trained_on": trained, "tested_on": tested}, asked.answer(model, f"{trained} on {tested}")
            )


def vary_objective(setup: ExperimentSetup) -> Iterator[Measurement]:
    """Compare diffusion with the same network as a regressor, and with straight flows."""
    data = open_all_data(setup)
    for name in OBJECTIVES:
        changes = {"objective": name}
        start = train_stage_one(setup, data, setup.params.prior.model_copy(update=changes))
        model = train_stage_two(setup, data, setup.params.composed.model_copy(update=changes), start=start)
        if name == "regression":
            model = model.sample_with(setup.change_sampling(solver="mean", num_inference_steps=1))
        yield Measurement({"objective": name}, setup.benchmark.answer(model, name))


def open_all_data(setup: ExperimentSetup, texts: TextView = EVERYTHING) -> VariantData:
    """Open what the pipeline's trainings learn from, or are measured on."""
    it = setup.params
    trainings = (it.prior, it.composed, it.distillation)
    names = {name for own in trainings for name in (*own.tasks.sets, *([own.curve.set] if own.curve.set else []))}
    return VariantData.open(setup.find_artifact("embeddings").parent, sorted(names), texts)


def open_caption_benchmark(setup: ExperimentSetup, data: VariantData) -> EmbeddedBenchmark:
    """Open text-to-picture queries: the validation captions of the first set that stage 1 learns from."""
    name = next(iter(setup.params.prior.tasks.text_to_image))
    embeddings = data.sets[name].embeddings
    captions = take_queries_of_set(embeddings, setup.find_artifact("validation") / name, sys.maxsize, seed=0)
    return make_caption_benchmark(captions, embeddings.encoder, setup.benchmark.source, setup.benchmark.chunk)


def share_tasks(tasks: TaskShares, mix: tuple[float, float, float]) -> TaskShares:
    """Give each task its share of `mix`; within a task, sets keep their proportions.

    Raises:
        InputInvalid: params.yaml names no set for a task of the mix.
    """
    shares: dict[str, dict[str, float]] = {}
    for (task, own), wanted in zip(tasks.by_task.items(), mix, strict=True):
        if wanted and not own:
            raise InputInvalid(f"composed.tasks of params.yaml draws {task} from no set; name one for this experiment")
        shares[task] = {name: share / sum(own.values()) * wanted for name, share in own.items()} if wanted else {}
    return TaskShares.model_validate(shares)


def _select_style(benchmark: EmbeddedBenchmark, style: dict[str, str], wanted: str) -> EmbeddedBenchmark:
    return benchmark.select_pictures(lambda picture: style[picture] == wanted)


@dataclass(frozen=True)
class Trained:
    """A trained model, and the seconds that its steps took."""

    model: RetrievalModel
    seconds: float


def train_stage_one(setup: ExperimentSetup, data: VariantData, params: TrainingParams | None = None) -> RetrievalModel:
    """Train a prior from random weights on the captions of `data`."""
    params = params or setup.params.prior
    return _train_once(setup, params, *_begin(setup, data, params)).model


def train_both_stages(setup: ExperimentSetup, data: VariantData) -> Trained:
    """Train a prior and from it a composed model, as the params of `setup` say."""
    first = _train_once(setup, setup.params.prior, *_begin(setup, data, setup.params.prior))
    material = _gather_material(setup, data, setup.params.composed)
    second = _train_once(setup, setup.params.composed, material, first.model)
    return Trained(second.model, first.seconds + second.seconds)


def plan_steps(setup: ExperimentSetup, data: VariantData, seconds: float) -> ExperimentSetup:
    """Return the setup with as many steps as take so long here, as a short training tells; both stages grow alike.

    That short training is kept like any other, so that a later run plans the same steps.
    """
    first, second = setup.params.prior, setup.params.composed
    short = replace(setup, training_steps=PROBED_STEPS)
    start = _train_once(short, first, *_begin(short, data, first))
    follows = _train_once(short, second, _gather_material(short, data, second), start.model)
    planned = (start.seconds * first.steps + follows.seconds * second.steps) / PROBED_STEPS
    params = setup.params.model_copy(
        update={
            "prior": shorten(first, max(1, round(first.steps * seconds / planned))),
            "composed": shorten(second, max(1, round(second.steps * seconds / planned))),
        }
    )
    return replace(setup, params=params, training_steps=None)


def find_pipeline_model(setup: ExperimentSetup) -> Trained | None:
    """Return the pipeline's composed model where it was trained by the very params of `setup`, else None."""
    it, artifacts = setup.params, setup.project / ARTIFACTS
    wanted = {name: getattr(it, name).model_dump() for name in ("prior", "composed", "denoiser")}
    for stage in ("prior", "composed"):
        wanted[stage]["precision"] = choose_precision(wanted[stage]["precision"], choose_device())
    if setup.training_steps is not None or not (artifacts / "composed").is_dir():
        return None
    model = setup.load_composed()
    if model.card.trained_with != wanted:
        return None
    curves = ((it.prior, "prior"), (it.composed, "composed"))
    seconds = sum(read_seconds(artifacts / "curves" / f"{name}.csv", own.batch_size) for own, name in curves)
    return Trained(model, seconds)


def train_stage_two(
    setup: ExperimentSetup, data: VariantData, params: TrainingParams, start: RetrievalModel | None = None
) -> RetrievalModel:
    """Train a composed model on `data` from `start`, or from the pipeline's prior where none is given."""
    if start is None:
        denoiser, card = load_model(setup.find_artifact("prior"))
        start = RetrievalModel(denoiser, card, setup.params.sampling)
    return _train_once(setup, params, _gather_material(setup, data, params), start).model


def _begin(
    setup: ExperimentSetup, data: VariantData, params: TrainingParams
) -> tuple[TrainingMaterial, RetrievalModel]:
    """Return what stage 1 learns from, and the random weights that it begins with."""
    material = _gather_material(setup, data, params)
    encoder = material.mixture.sets[0].embeddings.encoder
    seen = data.texts.choose(encoder.token_dims)
    shape = DenoiserConfig.of(setup.params.denoiser, embedding_dim=encoder.learned_dim, token_dims=seen)
    process = Process.of(shape, params.objective, setup.params.denoiser.num_train_timesteps)
    denoiser = make_denoiser(shape, material, standardise=setup.params.denoiser.standardise, seed=params.seed)
    return material, RetrievalModel(denoiser, ModelCard(shape, process), setup.params.sampling)


def _gather_material(setup: ExperimentSetup, data: VariantData, params: TrainingParams) -> TrainingMaterial:
    curve, queries = params.curve, params.curve.queries
    taken: CurveQueries
    if curve.set is not None:
        validated = data.artifacts / "validation" / curve.set
        taken = take_queries_of_set(data.sets[curve.set].embeddings, validated, queries, params.seed)
    else:
        name = str(curve.benchmark)
        embeddings = reduce_texts(Embeddings.load(data.artifacts / "benchmark_embeddings" / name), data.texts)
        assembled = open_assembled(data.artifacts / "benchmarks" / name)
        taken = take_queries_of_benchmark(assembled, embeddings, queries, params.seed)
    return TrainingMaterial(data.mix(params.tasks), taken)


def _train_once(
    setup: ExperimentSetup, params: TrainingParams, material: TrainingMaterial, start: RetrievalModel
) -> Trained:
    """Train for `setup.training_steps`, or read what an earlier run trained from the same start on the same data."""
    short = shorten(params, setup.training_steps)
    process = Process.of(start.card.denoiser, short.objective, start.card.process.num_train_timesteps)
    encoder = material.mixture.sets[0].embeddings.encoder
    card = ModelCard(start.card.denoiser, process, encoder.to_json(), {"experiment": short.model_dump()})
    folder = setup.work / _digest(short, material, start)
    curve = folder.with_suffix(".csv")
    if not folder.is_dir():
        network = deepcopy(start.denoiser).float().train().requires_grad_()  # who gave it still asks it
        fit(
            network,
            card,
            material,
            short,
            folder=folder,
            curve=curve,
            on_metrics=lambda _step, _metrics: None,
        )
    return Trained(
        RetrievalModel.load(folder, setup.params.sampling, setup.embeddings), read_seconds(curve, short.batch_size)
    )


def shorten(params: TrainingParams, steps: int | None) -> TrainingParams:
    """Return the training with so many steps, measured at the end only; None leaves it as it is."""
    if steps is None:
        return params
    warmup = min(params.warmup_steps, steps // 5)
    changes = {"steps": steps, "warmup_steps": warmup, "validate_every": steps, "checkpoint_every": steps}
    return params.model_copy(update=changes)


def _digest(params: TrainingParams, material: TrainingMaterial, start: RetrievalModel) -> str:
    """Name a training by a digest of its params, its data and the weights it starts from."""
    digest = hashlib.sha256(json.dumps([params.model_dump(), material.mixture.digest]).encode())
    for name, tensor in sorted(start.denoiser.state_dict().items()):
        digest.update(name.encode() + tensor.float().numpy().tobytes())
    return digest.hexdigest()[:16]


def _measure_both(benchmark: EmbeddedBenchmark, texts: EmbeddedBenchmark, model: RetrievalModel) -> dict[str, Any]:
    """Measure composed retrieval, and text-to-image retrieval asked by the text alone."""
    forgotten = texts.answer(replace(model, has_reference=False), "text to image")
    kept = {f"text_to_image_{name}": value for name, value in forgotten.items() if name.startswith("recall")}
    return benchmark.answer(model, "composed") | kept


def vary_distillation(setup: ExperimentSetup) -> Iterator[Measurement]:
    """Vary stage 2: without extra training at pure noise, distilled, and with it; each by one to ten calls."""
    data, composed = open_all_data(setup), setup.params.composed
    plain = train_stage_two(setup, data, composed.model_copy(update={"pure_noise_share": 0.0}))
    models = {
        "plain": plain,
        "plain, distilled": train_stage_two(setup, data, setup.params.distillation, start=plain),
        "half at pure noise": train_stage_two(setup, data, composed.model_copy(update={"pure_noise_share": 0.5})),
    }
    for name, model in models.items():
        for calls in CALLS:
            asked = model.sample_with(
                setup.change_sampling(solver="ddim", grid="trailing", eta=0.0, num_inference_steps=calls)
            )
            yield Measurement(
                {"model": name, "num_inference_steps": calls}, setup.benchmark.answer(asked, f"{name}, {calls}")
            )
