"""The optional stage distill: the composed model's many network calls in one. Run: compodiff run distill.

It is not in dvc.yaml: the default model is trained where few calls start (docs/decisions/0005) and has no need of it.
"""

from pathlib import Path
from typing import Annotated

from compodiff.embeddings import Embeddings
from compodiff.encoders import EncoderManifest, require_same
from compodiff.model.checkpoint import ModelCard, load_model
from compodiff.params import DistillationParams
from compodiff.stages.declaration import Input, Output
from compodiff.stages.training_material import choose_training_precision, collect_composed_material
from compodiff.tracking.runs import record_training
from compodiff.training.fit import fit


def distill(
    *,
    distillation: DistillationParams,
    data: Annotated[Path, Input("data")],
    validated: Annotated[Path, Input("artifacts/validation")],
    embeddings: Annotated[Path, Input("artifacts/embeddings")],
    benchmark: Annotated[Path, Input("artifacts/benchmark")],
    composed: Annotated[Path, Input("artifacts/composed")],
    folder: Annotated[Path, Output("artifacts/distilled")],
    curve: Annotated[Path, Output("artifacts/metrics/distilled_curve.csv")],
) -> None:
    """Train the composed model to say in one network call what it now says in `teacher_calls`.

    Raises:
        EncoderMismatch: the model was trained on another encoder's embeddings.
        ParamsInvalid, InputInvalid, CheckpointMismatch, ResourceUnavailable: see `fit`.
    """
    distillation = choose_training_precision(distillation, "distill")
    encoded = Embeddings.load(embeddings)
    denoiser, card = load_model(composed)
    require_same(EncoderManifest.from_json(card.encoder or {}), encoded.encoder, f"the model {composed}")
    material = collect_composed_material(data, encoded, validated, benchmark, distillation)
    params = {**card.trained_with, "distillation": distillation.model_dump()}
    distilled = ModelCard(card.denoiser, card.process, card.encoder, params)
    denoiser.train().requires_grad_()
    with record_training("distill", params, folder) as run:
        fit(denoiser, distilled, material, distillation, folder=folder, curve=curve, on_metrics=run.log_metrics)
        run.log_artifact(curve)
