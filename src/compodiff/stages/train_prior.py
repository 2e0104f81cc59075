"""The stage train_prior: stage 1, a text finds its picture. Run: compodiff run train_prior."""

from pathlib import Path
from typing import Annotated

from compodiff.model.checkpoint import ModelCard
from compodiff.model.network.denoiser import DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.params import DenoiserParams, TrainingParams
from compodiff.stages.declaration import Input, Output, Through
from compodiff.stages.training_material import choose_training_precision, load_material
from compodiff.tracking.runs import record_training
from compodiff.training.fit import fit, make_denoiser


def train_prior(
    *,
    prior: TrainingParams,
    denoiser: DenoiserParams,
    mixture: Annotated[Path, Input("artifacts/mixtures/prior")],
    embeddings: Annotated[Path, Through("artifacts/embeddings")],
    validated: Annotated[Path, Through("artifacts/validation")],
    encoder: Annotated[Path, Input("artifacts/encoder")],
    folder: Annotated[Path, Output("artifacts/prior")],
    curve: Annotated[Path, Output("artifacts/curves/prior.csv")],
) -> None:
    """Train a denoiser from random weights on the sets of `prior.tasks`.

    Raises:
        ParamsInvalid, InputInvalid, CheckpointMismatch, ResourceUnavailable: see `fit`.
    """
    prior = choose_training_precision(prior, "train_prior")
    material = load_material(mixture, embeddings, validated, encoder)
    made_with = material.mixture.sets[0].embeddings.encoder
    params = {"prior": prior.model_dump(), "denoiser": denoiser.model_dump()}
    shape = DenoiserConfig.of(denoiser, embedding_dim=made_with.learned_dim, token_dims=made_with.token_dims)
    card = ModelCard(
        denoiser=shape,
        process=Process.of(shape, prior.objective, denoiser.num_train_timesteps),
        encoder=made_with.to_json(),
        trained_with=params,
    )
    network = make_denoiser(card.denoiser, material, standardise=denoiser.standardise, seed=prior.seed)
    with record_training("train_prior", params, folder) as run:
        fit(network, card, material, prior, folder=folder, curve=curve, on_metrics=run.log_metrics)
        run.log_artifact(curve)
