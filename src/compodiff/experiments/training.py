"""Experiments that train: each variant is a short training of its own, kept, so that a killed run continues."""

import hashlib
import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from compodiff.benchmarks.answers import RetrievalModel
from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import Embeddings
from compodiff.experiments.embedded_benchmark import EmbeddedBenchmark, make_caption_benchmark
from compodiff.experiments.outcome import Measurement
from compodiff.experiments.setup import ExperimentSetup
from compodiff.model.checkpoint import ModelCard, load_model
from compodiff.model.network.denoiser import DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.params import TaskShares, TrainingParams
from compodiff.stages.training_material import list_caption_queries, list_triplet_queries, tabulate_captions
from compodiff.training.examples import make_training_examples
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
PROJECTION_SEED = 0


@dataclass(frozen=True)
class VariantData:
    """What a variant learns from.

    Attributes:
        embeddings: of its pictures and texts.
        captions: columns picture_id, caption.
        triplets: columns reference, target, relative_caption, relation.
    """

    embeddings: Embeddings
    captions: pd.DataFrame
    triplets: pd.DataFrame


def vary_task_mix(ground: ExperimentSetup) -> Iterator[Measurement]:
    """Vary the task mix of stage 2; see what is left of text-to-image retrieval (paper: 22.47 falls to 20.00)."""
    data = open_all_data(ground)
    catalogue = Catalogue.load(ground.project / "data")
    texts = make_caption_benchmark(catalogue, ground.embeddings, ground.split, ground.bench.chunk)
    yield Measurement({"tasks": "stage 1 alone"}, _measure_both(ground.bench, texts, ground.load_prior()))
    for name, (text_to_image, masked, triplet) in MIXES.items():
        shares = TaskShares(text_to_image=text_to_image, masked=masked, triplet=triplet)
        model = train_stage_two(ground, data, ground.params.composed.model_copy(update={"tasks": shares}))
        yield Measurement({"tasks": name}, _measure_both(ground.bench, texts, model))


def vary_data_scale(ground: ExperimentSetup) -> Iterator[Measurement]:
    """Vary the fraction of the triplets; the notes fit recall = a + b log2(triplets)."""
    data = open_all_data(ground)
    order = np.random.default_rng(ground.params.composed.seed).permutation(len(data.triplets))
    for fraction in FRACTIONS:
        some = data.triplets.iloc[np.sort(order[: max(1, round(fraction * len(order)))])]
        model = train_stage_two(ground, replace(data, triplets=some), ground.params.composed)
        metrics = ground.bench.answer(model, f"{len(some):,} triplets")
        yield Measurement({"fraction": fraction, "triplets": len(some)}, metrics)


def vary_text_encoder(ground: ExperimentSetup) -> Iterator[Measurement]:
    """Vary what of the text the network sees: its token states, only their mean, or only the pooled embedding."""
    for name, embeddings in list_text_variants(ground.embeddings).items():
        data = replace(open_all_data(ground), embeddings=embeddings)
        model = train_stage_two(ground, data, ground.params.composed, start=train_stage_one(ground, data))
        yield Measurement({"text": name}, ground.bench.replace_embeddings(embeddings).answer(model, name))


def transfer_domain(ground: ExperimentSetup) -> Iterator[Measurement]:
    """Train on one style of pictures, or both, and test on each (another benchmark is tested as it is)."""
    data = open_all_data(ground)
    style = Catalogue.load(ground.project / "data").pictures["style"].to_dict()
    for trained in (*STYLES, "both"):
        styles = STYLES if trained == "both" else (trained,)
        pairs = data.triplets
        inside = pairs["reference"].map(style).isin(styles) & pairs["target"].map(style).isin(styles)
        captions = data.captions[data.captions["picture_id"].map(style).isin(styles)]
        own = replace(data, captions=captions, triplets=pairs[inside])
        model = train_stage_two(ground, own, ground.params.composed, start=train_stage_one(ground, own))
        for tested in STYLES if ground.is_emoji else (ground.bench.name,):
            bench = ground.bench
            if ground.is_emoji:
                bench = bench.select_pictures(lambda picture, tested=tested: style[picture] == tested)  # type: ignore[misc]
            metrics = bench.answer(model, f"{trained} on {tested}")
            yield Measurement({"trained_on": trained, "tested_on": tested}, metrics)


def vary_objective(ground: ExperimentSetup) -> Iterator[Measurement]:
    """Vary the objective, to see if diffusion is needed: the same network as a regressor, and with straight flows."""
    data = open_all_data(ground)
    for name in OBJECTIVES:
        changes = {"objective": name}
        start = train_stage_one(ground, data, ground.params.prior.model_copy(update=changes))
        model = train_stage_two(ground, data, ground.params.composed.model_copy(update=changes), start=start)
        if name == "regression":
            model = model.sample_with(ground.change_sampling(solver="mean", num_inference_steps=1))
        yield Measurement({"objective": name}, ground.bench.answer(model, name))


def open_all_data(ground: ExperimentSetup) -> VariantData:
    """Return what the pipeline's stage 2 learns from."""
    accepted = pd.read_parquet(ground.find_artifact("validation") / "accepted.parquet")
    captions = tabulate_captions(Catalogue.load(ground.project / "data"), "train")
    return VariantData(ground.embeddings, captions, accepted[accepted["split"] == "train"])


def list_text_variants(embeddings: Embeddings) -> dict[str, Embeddings]:
    """Return the embeddings with other text tokens: as they are, their mean alone, the pooled embedding alone."""
    rows = np.arange(len(embeddings.text_row))
    tokens, lengths = embeddings.read_tokens(rows)
    starts = np.cumsum(lengths) - lengths
    mean = np.add.reduceat(tokens.astype(np.float32), starts) / lengths[:, None]
    # The pooled embedding has another width than a token: a fixed random projection keeps its inner products.
    shape = embeddings.texts_pooled.shape[1], tokens.shape[1]
    pooled = embeddings.texts_pooled @ np.random.default_rng(PROJECTION_SEED).normal(0, shape[1] ** -0.5, shape)
    single = np.arange(len(rows) + 1)
    return {
        "token states": embeddings,
        "mean of token states": replace(embeddings, _text_tokens=mean.astype(np.float16), _text_offsets=single),
        "pooled embedding": replace(embeddings, _text_tokens=pooled.astype(np.float16), _text_offsets=single),
    }


def train_stage_one(ground: ExperimentSetup, data: VariantData, params: TrainingParams | None = None) -> RetrievalModel:
    """Return a prior, trained from random weights on the captions of `data`."""
    params = params or ground.params.prior
    encoder = data.embeddings.encoder
    shape = DenoiserConfig.of(ground.params.denoiser, embedding_dim=encoder.embedding_dim, token_dim=encoder.token_dim)
    process = Process(params.objective, ground.params.denoiser.num_train_timesteps)
    queries = list_caption_queries(Catalogue.load(ground.project / "data"), params)
    examples = make_training_examples(data.embeddings, data.captions)
    material = TrainingMaterial(data.embeddings, examples, queries, _list_gallery(ground))
    denoiser = make_denoiser(shape, material, standardise=ground.params.denoiser.standardise, seed=params.seed)
    start = RetrievalModel(denoiser, ModelCard(shape, process), ground.params.sampling)
    return _train_once(ground, data, params, material, start)


def train_stage_two(
    ground: ExperimentSetup, data: VariantData, params: TrainingParams, start: RetrievalModel | None = None
) -> RetrievalModel:
    """Return a composed model, trained on `data` from `start`; from the pipeline's prior where none is given."""
    if start is None:
        denoiser, card = load_model(ground.find_artifact("prior"))
        start = RetrievalModel(denoiser, card, ground.params.sampling)
    material = TrainingMaterial(
        data.embeddings,
        make_training_examples(data.embeddings, data.captions, data.triplets),
        list_triplet_queries(ground.find_artifact("benchmark"), params),
        _list_gallery(ground),
    )
    return _train_once(ground, data, params, material, start)


def _train_once(
    ground: ExperimentSetup,
    data: VariantData,
    params: TrainingParams,
    material: TrainingMaterial,
    start: RetrievalModel,
) -> RetrievalModel:
    """Train for `ground.training_steps`, or read what an earlier run trained from the same start on the same data."""
    steps = ground.training_steps
    warmup = {"warmup_steps": min(params.warmup_steps, steps // 5)}
    short = params.model_copy(update=dict.fromkeys(("steps", "validate_every", "checkpoint_every"), steps) | warmup)
    process = Process(short.objective, start.card.process.num_train_timesteps)
    encoder = data.embeddings.encoder.to_json()
    card = ModelCard(start.card.denoiser, process, encoder, {"experiment": short.model_dump()})
    folder = ground.work / _digest(short, data, start)
    if not folder.is_dir():
        network = deepcopy(start.denoiser).float().train().requires_grad_()  # who gave it still asks it
        curve = folder.with_suffix(".csv")
        fit(network, card, material, short, folder=folder, curve=curve, on_metrics=lambda _step, _metrics: None)
    return RetrievalModel.load(folder, ground.params.sampling, data.embeddings)


def _digest(params: TrainingParams, data: VariantData, start: RetrievalModel) -> str:
    """Return a name for a training: its params, its data and the weights it starts from."""
    digest = hashlib.sha256(json.dumps([params.model_dump(), data.embeddings.encoder.to_json()]).encode())
    for table in (data.captions, data.triplets):
        digest.update(np.ascontiguousarray(pd.util.hash_pandas_object(table, index=False)).tobytes())
    digest.update(data.embeddings.read_tokens(np.arange(min(64, len(data.embeddings.text_row))))[0].tobytes())
    for name, tensor in sorted(start.denoiser.state_dict().items()):
        digest.update(name.encode() + tensor.float().numpy().tobytes())
    return digest.hexdigest()[:16]


def _list_gallery(ground: ExperimentSetup) -> list[str]:
    return Catalogue.load(ground.project / "data").list_distinct()


def _measure_both(bench: EmbeddedBenchmark, texts: EmbeddedBenchmark, model: RetrievalModel) -> dict[str, Any]:
    """Return composed retrieval, and text-to-image retrieval asked by the text alone."""
    forgotten = texts.answer(replace(model, has_reference=False), "text to image")
    kept = {f"text_to_image_{name}": value for name, value in forgotten.items() if name.startswith("recall")}
    return bench.answer(model, "composed") | kept


def vary_distillation(ground: ExperimentSetup) -> Iterator[Measurement]:
    """Train stage 2 without extra training at pure noise, distil that, and train with it; ask each by 1 to 10 calls."""
    data, composed = open_all_data(ground), ground.params.composed
    plain = train_stage_two(ground, data, composed.model_copy(update={"pure_noise_share": 0.0}))
    models = {
        "plain": plain,
        "plain, distilled": train_stage_two(ground, data, ground.params.distillation, start=plain),
        "half at pure noise": train_stage_two(ground, data, composed.model_copy(update={"pure_noise_share": 0.5})),
    }
    for name, model in models.items():
        for calls in CALLS:
            sampling = ground.change_sampling(solver="ddim", grid="trailing", eta=0.0, num_inference_steps=calls)
            metrics = ground.bench.answer(model.sample_with(sampling), f"{name}, {calls}")
            yield Measurement({"model": name, "num_inference_steps": calls}, metrics)
