"""The stage train_composed: stage 2, picture and relative caption find the target.

Run: compodiff run train_composed.
"""

from pathlib import Path
from typing import Annotated

from compodiff.encoders import EncoderManifest, require_same
from compodiff.model.checkpoint import ModelCard, load_model
from compodiff.model.sampling.process import Process
from compodiff.params import TrainingParams
from compodiff.stages.declaration import Input, Output, Through
from compodiff.stages.training_material import choose_training_precision, load_material
from compodiff.tracking.runs import record_training
from compodiff.training.fit import fit


def train_composed(
    *,
    composed: TrainingParams,
    mixture: Annotated[Path, Input("artifacts/mixtures/composed")],
    prior: Annotated[Path, Input("artifacts/prior")],
    embeddings: Annotated[Path, Through("artifacts/embeddings")],
    validated: Annotated[Path, Through("artifacts/validation")],
    encoder: Annotated[Path, Input("artifacts/encoder")],
    folder: Annotated[Path, Output("artifacts/composed")],
    curve: Annotated[Path, Output("artifacts/curves/composed.csv")],
) -> None:
    """Train the prior on: captions, masked pictures and triplets of the sets of `composed.tasks`, each its share.

    Raises:
        EncoderMismatch: the prior was trained on another encoder's embeddings.
        ParamsInvalid, InputInvalid, CheckpointMismatch, ResourceUnavailable: see `fit`.
    """
    composed = choose_training_precision(composed, "train_composed")
    material = load_material(mixture, embeddings, validated, encoder)
    made_with = material.mixture.sets[0].embeddings.encoder
    denoiser, prior_card = load_model(prior)
    require_same(EncoderManifest.from_json(prior_card.encoder or {}), made_with, f"the prior {prior}")
    params = {**prior_card.trained_with, "composed": composed.model_dump()}
    card = ModelCard(
        denoiser=prior_card.denoiser,
        process=Process.of(prior_card.denoiser, composed.objective, prior_card.process.num_train_timesteps),
        encoder=made_with.to_json(),
        trained_with=params,
    )
    denoiser.train().requires_grad_()
    with record_training("train_composed", params, folder) as run:
        fit(denoiser, card, material, composed, folder=folder, curve=curve, on_metrics=run.log_metrics)
        run.log_artifact(curve)
