"""The stage train_prior: stage 1, a text finds its picture. Run: compodiff run train_prior."""

from pathlib import Path
from typing import Annotated

from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import Embeddings
from compodiff.model.checkpoint import ModelCard
from compodiff.model.network.denoiser import DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.params import DenoiserParams, SamplingParams, TrainingParams
from compodiff.stages.declaration import Input, Output
from compodiff.stages.training_material import choose_training_precision, list_caption_queries, tabulate_captions
from compodiff.tracking.runs import record_training
from compodiff.training.examples import make_training_examples
from compodiff.training.fit import TrainingMaterial, fit, make_denoiser


def train_prior(
    *,
    prior: TrainingParams,
    denoiser: DenoiserParams,
    sampling: SamplingParams,
    data: Annotated[Path, Input("data")],
    embeddings: Annotated[Path, Input("artifacts/embeddings")],
    folder: Annotated[Path, Output("artifacts/prior")],
    curve: Annotated[Path, Output("artifacts/metrics/prior_curve.csv")],
) -> None:
    """Train a denoiser from random weights on the captions of the training pictures.

    Raises:
        ParamsInvalid, InputInvalid, CheckpointMismatch, ResourceUnavailable: see `fit`.
    """
    prior = choose_training_precision(prior, "train_prior")
    catalogue, encoded = Catalogue.load(data), Embeddings.load(embeddings)
    material = TrainingMaterial(
        embeddings=encoded,
        examples=make_training_examples(encoded, tabulate_captions(catalogue, "train")),
        queries=list_caption_queries(catalogue, prior),
        gallery=catalogue.list_distinct(),
    )
    params = {"prior": prior.model_dump(), "denoiser": denoiser.model_dump(), "sampling": sampling.model_dump()}
    card = ModelCard(
        denoiser=DenoiserConfig.of(
            denoiser, embedding_dim=encoded.encoder.embedding_dim, token_dim=encoded.encoder.token_dim
        ),
        process=Process(prior.objective, denoiser.num_train_timesteps),
        encoder=encoded.encoder.to_json(),
        trained_with=params,
    )
    network = make_denoiser(card.denoiser, material, standardise=denoiser.standardise, seed=prior.seed)
    with record_training("train_prior", params, folder) as run:
        fit(network, card, material, prior, folder=folder, curve=curve, on_metrics=run.log_metrics)
        run.log_artifact(curve)
