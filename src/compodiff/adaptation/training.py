"""The training of an adaptation: the set of moved texts goes through the rooms that every set goes through."""

from pathlib import Path

from compodiff.adaptation.triplets import NAME
from compodiff.embeddings import SetEmbeddings, TextTower, embed_set
from compodiff.model.checkpoint import ModelCard
from compodiff.model.network.denoiser import DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.params import CurveParams, OwnSetParams, Params, TaskShares, TrainingParams
from compodiff.stages.training_material import choose_training_precision
from compodiff.stages.validate import validate
from compodiff.tracking.runs import record_training
from compodiff.training.curve import take_queries_of_set
from compodiff.training.fit import TrainingMaterial, fit, make_denoiser
from compodiff.training.mixture import make_mixture

COMPOSED, CURVE = "composed", "training.csv"


def plan_training(params: Params) -> TrainingParams:
    """Return how the model is trained: as the section `composed` says, but for what `adaptation` does."""
    own, share = params.adaptation, params.adaptation.text_to_image
    changes = {
        "tasks": TaskShares(text_to_image={NAME: share} if share else {}, masked={}, triplet={NAME: 1 - share}),
        "curve": CurveParams(set=NAME, benchmark=None, queries=params.composed.curve.queries),
        **{name: getattr(own, name) for name in ("steps", "learning_rate", "validate_every", "checkpoint_every")},
    }
    plain = {name: getattr(params.composed, name) for name in TrainingParams.model_fields}
    return TrainingParams(**(plain | changes))


def train_on_captions(project: Path, params: Params, work: Path) -> None:
    """Embed, validate and learn the set of the work folder: WORK/composed and WORK/training.csv, unless they are there.

    Raises:
        DataRejected: rows of the set are not as they should be.
        ParamsInvalid, InputInvalid, CheckpointMismatch, ResourceUnavailable: see `fit`.
    """
    if (work / COMPOSED).is_dir():
        return
    embeddings, validated = work / "embeddings", work / "validation"
    _prepare_set(project, params, work)
    training = choose_training_precision(plan_training(params), "adapt")
    tower = TextTower(work / "encoder")
    mixture = make_mixture(training.tasks, embeddings, validated, tower)
    own = SetEmbeddings.load(embeddings / NAME, tower=tower)
    queries = take_queries_of_set(own, validated / NAME, training.curve.queries, training.seed)
    material, made_with = TrainingMaterial(mixture, queries), own.encoder
    shape = DenoiserConfig.of(params.denoiser, embedding_dim=made_with.learned_dim, token_dims=made_with.token_dims)
    told = {"adaptation": params.adaptation.model_dump(), "composed": training.model_dump()}
    told |= {"denoiser": params.denoiser.model_dump()}
    process = Process.of(shape, training.objective, params.denoiser.num_train_timesteps)
    card = ModelCard(shape, process, made_with.to_json(), told)
    network = make_denoiser(shape, material, standardise=params.denoiser.standardise, seed=training.seed)
    with record_training("adapt", told, project / "params.yaml") as run:
        curve = work / CURVE
        fit(network, card, material, training, folder=work / COMPOSED, curve=curve, on_metrics=run.log_metrics)
        run.log_artifact(curve)


def _prepare_set(project: Path, params: Params, work: Path) -> None:
    """Embed the texts of the set, and validate its rows as those of any set."""
    folders = [work / kind / NAME for kind in ("sets", "embeddings", "validation")]
    folder, embeddings, validated = folders
    embed_set(embeddings, folder, work / "encoder", params.embedding)
    if not (validated / "result.json").is_file():
        validate(
            params=OwnSetParams(recipe="own", reads=str(folder), min_rows=params.adaptation.least_pairs, floors=None),
            validation=params.validation,
            folder=folder,
            embeddings=embeddings,
            benchmarks=project / "artifacts" / "benchmarks",
            validated=validated,
        )
