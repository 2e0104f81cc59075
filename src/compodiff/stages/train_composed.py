"""The stage train_composed: stage 2, a reference and a relative caption find the target.

Run: compodiff run train_composed.
"""

from pathlib import Path
from typing import Annotated

from compodiff.embeddings import Embeddings
from compodiff.encoders import EncoderManifest, require_same
from compodiff.model.checkpoint import ModelCard, load_model
from compodiff.model.sampling.process import Process
from compodiff.params import SamplingParams, TrainingParams
from compodiff.stages.declaration import Input, Output
from compodiff.stages.training_material import choose_training_precision, collect_composed_material
from compodiff.tracking.runs import record_training
from compodiff.training.fit import fit


def train_composed(  # noqa: PLR0913  # a stage's arguments are its declaration
    *,
    composed: TrainingParams,
    sampling: SamplingParams,
    data: Annotated[Path, Input("data")],
    validated: Annotated[Path, Input("artifacts/validation")],
    embeddings: Annotated[Path, Input("artifacts/embeddings")],
    benchmark: Annotated[Path, Input("artifacts/benchmark")],
    prior: Annotated[Path, Input("artifacts/prior")],
    folder: Annotated[Path, Output("artifacts/composed")],
    curve: Annotated[Path, Output("artifacts/metrics/composed_curve.csv")],
) -> None:
    """Train the prior on: captions, masked pictures and accepted triplets, each its share of a batch.

    Raises:
        EncoderMismatch: the prior was trained on another encoder's embeddings.
        ParamsInvalid, InputInvalid, CheckpointMismatch, ResourceUnavailable: see `fit`.
    """
    composed = choose_training_precision(composed, "train_composed")
    encoded = Embeddings.load(embeddings)
    denoiser, prior_card = load_model(prior)
    require_same(EncoderManifest.from_json(prior_card.encoder or {}), encoded.encoder, f"the prior {prior}")
    material = collect_composed_material(data, encoded, validated, benchmark, composed)
    params = {**prior_card.trained_with, "composed": composed.model_dump(), "sampling": sampling.model_dump()}
    card = ModelCard(
        denoiser=prior_card.denoiser,
        process=Process(composed.objective, prior_card.process.num_train_timesteps),
        encoder=encoded.encoder.to_json(),
        trained_with=params,
    )
    denoiser.train().requires_grad_()
    with record_training("train_composed", params, folder) as run:
        fit(denoiser, card, material, composed, folder=folder, curve=curve, on_metrics=run.log_metrics)
        run.log_artifact(curve)
