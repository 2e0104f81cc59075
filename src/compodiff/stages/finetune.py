"""The optional stage finetune@SET: a trained model goes on on a set of one's own. Run: compodiff run finetune@SET.

It is not in dvc.yaml. `compodiff finetune --set NAME` does the same from any model, and scores what came of it.
"""

import os
import shutil
from pathlib import Path
from typing import Annotated

from compodiff.embeddings import SetEmbeddings, TextTower
from compodiff.encoders import KIND as ENCODER
from compodiff.encoders import EncoderManifest, require_same
from compodiff.errors import EncoderMismatch
from compodiff.model.checkpoint import ModelCard, load_model
from compodiff.model.dials import FILE as DIALS
from compodiff.model.dials import read_dials
from compodiff.params import CurveParams, FinetuningParams, TaskShares, TrainingParams
from compodiff.stages.declaration import Input, Key, Output, Through
from compodiff.stages.training_material import choose_training_precision
from compodiff.storage.atomic import open_work_folder, replace_folder, write_json
from compodiff.tracking.runs import record_training
from compodiff.training.curve import take_queries_of_set
from compodiff.training.fit import TrainingMaterial, fit
from compodiff.training.mixture import make_mixture

KIND = "finetuned model"
METRICS, REPORTS, CURVE = "metrics", "reports", "curve.csv"
_OWN = ("composed", "composed.partial*", "encoder", CURVE, DIALS, METRICS, REPORTS)


def finetune(
    *,
    name: Annotated[str, Key()],
    finetuning: FinetuningParams,
    composed: Annotated[Path, Input("artifacts/composed")],
    encoder: Annotated[Path, Input("artifacts/encoder")],
    embeddings: Annotated[Path, Through("artifacts/embeddings")],
    validated: Annotated[Path, Through("artifacts/validation")],
    to: Annotated[Path, Output("artifacts/finetuned/{key}")],
) -> None:
    """Train the composed model further on the triplets of a set.

    Raises:
        EncoderMismatch, InputInvalid, ParamsInvalid, CheckpointMismatch, ResourceUnavailable: see `finetune_model`.
    """
    params = plan_finetuning(finetuning, name)
    finetune_model(params, name, composed=composed, encoder=encoder, embeddings=embeddings, validated=validated, to=to)


def plan_finetuning(
    params: FinetuningParams, name: str, *, kept: float | None = None, steps: int | None = None
) -> TrainingParams:
    """Return how a model is trained on the set `name`: `kept` and `steps` are those of `params` where None."""
    share = params.kept if kept is None else kept
    curve = CurveParams(set=name, benchmark=None, queries=params.curve.queries)
    changes = {"tasks": share_with(params.tasks, name, share), "steps": steps or params.steps, "curve": curve}
    plain = {key: getattr(params, key) for key in TrainingParams.model_fields}
    return TrainingParams(**(plain | changes))


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


def finetune_model(
    params: TrainingParams,
    name: str,
    *,
    composed: Path,
    encoder: Path,
    embeddings: Path,
    validated: Path,
    to: Path,
) -> None:
    """Train a composed model further, and write a folder that takes its place: composed/, encoder/, sampling.json.

    Args:
        params: with the shares of tasks and sets, see `plan_finetuning`.
        name: of the set on whose validation split it is measured.
        composed: folder of the model that it begins with.
        encoder: folder of the encoder that the model works with.
        embeddings: folder of the embeddings of sets.
        validated: folder of the validated sets.
        to: the folder to write; a killed run goes on where it was.

    Raises:
        EncoderMismatch: the sets were embedded by another encoder than the model's.
        InputInvalid: a set lacks what a task draws from it, or is not there; or `to` holds something else.
        ParamsInvalid, CheckpointMismatch, ResourceUnavailable: see `fit`.
    """
    is_first = os.environ.get("RANK", "0") == "0"
    if is_first:
        open_work_folder(to, KIND, _OWN)
    params = choose_training_precision(params, "finetune")
    tower = TextTower(encoder)
    mixture = make_mixture(params.tasks, embeddings, validated, tower)
    own = SetEmbeddings.load(embeddings / name, tower=tower)
    queries = take_queries_of_set(own, validated / name, params.curve.queries, params.seed)
    denoiser, card = load_model(composed)
    require_fit(card, own.encoder, composed)
    dials = read_dials(composed, card)
    told = {**card.trained_with, "finetuning": params.model_dump()}
    finetuned = ModelCard(card.denoiser, card.process, own.encoder.to_json(), told)
    denoiser.train().requires_grad_()
    material = TrainingMaterial(mixture, queries)
    with record_training("finetune", told, to / "composed") as run:
        fit(denoiser, finetuned, material, params, folder=to / "composed", curve=to / CURVE, on_metrics=run.log_metrics)
        run.log_artifact(to / CURVE)
    if is_first:
        copy_encoder(encoder, to / "encoder")
        if dials is not None:
            write_json(to / DIALS, dials.model_dump())


def require_fit(card: ModelCard, encoder: EncoderManifest, model: Path) -> None:
    """Check that a model can learn from what an encoder embedded; a card that names none has to have its widths.

    Raises:
        EncoderMismatch: it cannot.
    """
    if card.encoder is not None:
        require_same(EncoderManifest.from_json(card.encoder), encoder, f"the sets that {model} is to learn from")
        return
    theirs = card.denoiser.embedding_dim, card.denoiser.token_dims
    ours = encoder.learned_dim, encoder.token_dims
    if theirs != ours:
        raise EncoderMismatch(
            f"the model {model} works on embeddings of {_name_widths(*theirs)}, the encoder {encoder.describe()} makes "
            f"{_name_widths(*ours)}; name the model's encoder in params.yaml and run: dvc repro"
        )


def _name_widths(embedding_dim: int, token_dims: tuple[int, ...]) -> str:
    return f"{embedding_dim} dimensions and tokens of {', '.join(map(str, token_dims))}"


def copy_encoder(encoder: Path, to: Path) -> None:
    """Copy the folder of an encoder to the folder `to`, whole or not at all."""
    with replace_folder(to, ENCODER) as temporary:
        shutil.copytree(encoder, temporary, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
