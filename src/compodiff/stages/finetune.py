"""The optional stage finetune: a trained model goes on on sets of one's own. Run: compodiff finetune --set NAME.

It is in no graph: what to begin with and what to learn from is said when it is run, or in params.yaml (`finetuning`).
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from compodiff.embeddings import SetEmbeddings, TextTower
from compodiff.encoders import KIND as ENCODER
from compodiff.encoders import EncoderManifest, require_same
from compodiff.model.checkpoint import ModelCard, load_model
from compodiff.model.dials import FILE as DIALS
from compodiff.model.dials import read_dials
from compodiff.params import CurveParams, TaskShares, TrainingParams
from compodiff.stages.training_material import choose_training_precision
from compodiff.storage.atomic import open_work_folder, replace_folder, write_json
from compodiff.tracking.runs import record_training
from compodiff.training.curve import take_queries_of_set
from compodiff.training.fit import TrainingMaterial, fit
from compodiff.training.mixture import make_mixture

KIND = "finetuned model"


def share_with(tasks: TaskShares, name: str, kept: float) -> TaskShares:
    """Return shares in which the triplets of one set have what the sets of `tasks` do not keep.

    Args:
        tasks: what the model learned from; each share is multiplied by `kept`.
        name: of the set that is new.
        kept: share of a batch that stays, so that what the model knew is not lost.
    """
    scaled = {task: {own: share * kept for own, share in shares.items()} for task, shares in tasks.by_task.items()}
    triplets = scaled["triplet"]
    triplets[name] = triplets.get(name, 0.0) + 1 - kept
    present = {task: {own: share for own, share in shares.items() if share} for task, shares in scaled.items()}
    return TaskShares(**present)


def finetune(
    params: TrainingParams,
    name: str,
    *,
    composed: Path,
    encoder: Path,
    artifacts: Path,
    to: Path,
    on_metrics: Callable[[int, Mapping[str, float]], None] = lambda _step, _metrics: None,
) -> None:
    """Train a composed model further, and write a folder that takes its place: composed/, encoder/, sampling.json.

    Args:
        params: section `finetuning`, with the shares of tasks and sets.
        name: of the set on whose validation split it is measured.
        composed: folder of the model that it begins with.
        encoder: folder of the encoder that the model works with.
        artifacts: holds embeddings/NAME and validation/NAME of each set.
        to: the folder to write; a killed run goes on where it was.
        on_metrics: told each point of the curve.

    Raises:
        EncoderMismatch: the sets were embedded by another encoder than the model's.
        InputInvalid: `to` holds something else.
        ParamsInvalid, CheckpointMismatch, ResourceUnavailable: see `fit`.
    """
    open_work_folder(to, KIND, ("composed", "composed.partial", "encoder", "curve.csv", DIALS))
    params = choose_training_precision(params, "finetune")
    params = params.model_copy(update={"curve": CurveParams(set=name, benchmark=None, queries=params.curve.queries)})
    tower = TextTower(encoder)
    mixture = make_mixture(params.tasks, artifacts / "embeddings", artifacts / "validation", tower)
    own = SetEmbeddings.load(artifacts / "embeddings" / name, tower=tower)
    queries = take_queries_of_set(own, artifacts / "validation" / name, params.curve.queries, params.seed)
    denoiser, card = load_model(composed)
    require_same(EncoderManifest.from_json(card.encoder or {}), own.encoder, f"the model {composed}")
    dials = read_dials(composed, card)
    told = {**card.trained_with, "finetuning": params.model_dump()}
    finetuned = ModelCard(card.denoiser, card.process, card.encoder, told)
    denoiser.train().requires_grad_()
    curve = to / "curve.csv"
    with record_training("finetune", told, to / "composed") as run:

        def log_metrics(step: int, metrics: Mapping[str, float]) -> None:
            run.log_metrics(step, metrics)
            on_metrics(step, metrics)

        material = TrainingMaterial(mixture, queries)
        fit(denoiser, finetuned, material, params, folder=to / "composed", curve=curve, on_metrics=log_metrics)
        run.log_artifact(curve)
    with replace_folder(to / "encoder", ENCODER) as temporary:
        for path in encoder.iterdir():
            if path.is_file() and not path.name.startswith("."):
                shutil.copy2(path, temporary / path.name)
    if dials is not None:
        write_json(to / DIALS, dials.model_dump())
