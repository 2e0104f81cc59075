"""The optional stage distill: the composed model's many network calls in one. Run: compodiff run distill.

It is not in dvc.yaml: the default model is trained where few calls start (docs/decisions/0005) and has no need of it.
"""

from pathlib import Path
from typing import Annotated

from compodiff.encoders import EncoderManifest, require_same
from compodiff.model.checkpoint import ModelCard, load_model
from compodiff.params import DistillationParams
from compodiff.stages.declaration import Input, Output, Through
from compodiff.stages.training_material import choose_training_precision, load_material
from compodiff.tracking.runs import record_training
from compodiff.training.fit import fit


def distill(
    *,
    distillation: DistillationParams,
    mixture: Annotated[Path, Input("artifacts/mixtures/composed")],
    embeddings: Annotated[Path, Through("artifacts/embeddings")],
    validated: Annotated[Path, Through("artifacts/validation")],
    encoder: Annotated[Path, Input("artifacts/encoder")],
    composed: Annotated[Path, Input("artifacts/composed")],
    folder: Annotated[Path, Output("artifacts/distilled")],
    curve: Annotated[Path, Output("artifacts/curves/distilled.csv")],
) -> None:
    """Train the composed model to say in one network call what it now says in `teacher_calls`.

    It learns from what the composed model learned from.

    Raises:
        EncoderMismatch: the model was trained on another encoder's embeddings.
        ParamsInvalid, InputInvalid, CheckpointMismatch, ResourceUnavailable: see `fit`.
    """
    distillation = choose_training_precision(distillation, "distill")
    material = load_material(mixture, embeddings, validated, encoder)
    made_with = material.mixture.sets[0].embeddings.encoder
    denoiser, card = load_model(composed)
    require_same(EncoderManifest.from_json(card.encoder or {}), made_with, f"the model {composed}")
    params = {**card.trained_with, "distillation": distillation.model_dump()}
    distilled = ModelCard(card.denoiser, card.process, card.encoder, params)
    denoiser.train().requires_grad_()
    with record_training("distill", params, folder) as run:
        fit(denoiser, distilled, material, distillation, folder=folder, curve=curve, on_metrics=run.log_metrics)
        run.log_artifact(curve)
