"""The registered model `compodiff`: its versions, and the folder that an alias stands for.

A version holds all that a search needs (composed model, encoder, index of the default gallery) as safetensors and JSON,
and its run the figures that the gate of promotion.py judges. Search and serving load by alias, never by number.
"""

import logging
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compodiff.errors import InputInvalid
from compodiff.signing.chain import digest_parts, read_origin, write_registered_chain
from compodiff.storage.atomic import write_json
from compodiff.storage.json_files import read_json
from compodiff.storage.ownership import is_signed
from compodiff.storage.scratch import open_scratch
from compodiff.tracking.description import describe_version, list_numbers
from compodiff.tracking.pipelines import update_pipeline
from compodiff.tracking.runs import deliver_kept, describe_origin, flatten_params, record_at_once
from compodiff.tracking.signature import make_input_example, make_signature, read_card
from compodiff.tracking.store import Store, open_store, remove_credentials, require_answers, say_how_to_show_runs
from compodiff.tracking.traces import find_training_trace

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

MODEL = "compodiff"
CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
FINETUNED = "finetuned"  # who made a version, where its gate is not that of the pipeline's models
_MADE_BY, _BROKEN, _REGISTRATION = "made_by", "chain_broken", "registration"  # tags of a version
# Works also where DVC takes the stage for up to date, as a version that was deleted in MLflow is no change to DVC.
REGISTER = "make run, or dvc repro --single-item --force register"

BEGUN = "registration under way"  # kind of a file
CHAIN_IS_BROKEN = "its chain of digests from the data to its files is broken"
LONGEST_TAG = 4000  # characters
_log = logging.getLogger(__name__)
_CODE = Path(__file__).parents[1] / "serving" / "mlflow_model.py"
_REQUIREMENTS = (MODEL, "torch", "numpy", "pandas", "pillow", "safetensors", "open_clip_torch", "timm", "transformers")


@dataclass(frozen=True)
class ModelCandidate:
    """What is registered as one version.

    Attributes:
        folders: the model's parts by name: composed, encoder, index.
        dials: the file sampling.json, which says how the model is asked.
        figures: benchmark name -> what its metrics file holds.
        files: reports, plots and metrics files to keep with the run.
        made_by: FINETUNED, or "" for the pipeline; says which gates judge it.
        registration: names this registration; who was killed and asks for it again gets the version that it made.
    """

    folders: Mapping[str, Path]
    dials: Path
    figures: Mapping[str, Mapping[str, Any]]
    files: Sequence[Path]
    made_by: str = ""
    registration: str = ""


@dataclass(frozen=True)
class RegisteredVersion:
    """One registered version.

    Attributes:
        number, run_id: its number, and the run that registered it.
        figures: metrics such as emoji/composed/recall_at_10.
        made_by: as registered.
        broken: where the chain of digests from the data to its files breaks, in words; "" where it does nowhere.
    """

    number: str
    run_id: str
    figures: Mapping[str, float]
    made_by: str = ""
    broken: str = ""


def register_model(project: Path, candidate: ModelCandidate) -> RegisteredVersion:
    """Register `candidate` as a version of the model, the challenger: a new one, but for a registration done before.

    Where its chain of digests breaks, that is said.

    Raises:
        ResourceUnavailable: MLflow cannot be reached, or the disk is full; the alias is then as it was.
    """
    store = open_store(project)
    deliver_kept(store, project, only_ended=True)
    figures = dict(list_numbers(candidate.figures))
    with require_answers(store.uri):
        if found := _find_registered(store, candidate.registration):
            store.client.set_registered_model_alias(MODEL, CHALLENGER, found.version)
            return _add_figures(store, found)
        trained_with = read_card(candidate.folders["composed"])["trained_with"]
        origin = describe_origin(project) | find_training_trace(store, dict(flatten_params(trained_with)))
        with record_at_once(store, project, "register", origin) as run_id:
            _log_run(store, run_id, candidate, figures)
            source, model_id, broken = _log_model(project, store, run_id, candidate, origin)
        update_pipeline(store, origin, "FINISHED", figures)
        ensure_registered_model(store, MODEL, "Composed image retrieval: a picture and a change.")
        own = {_MADE_BY: candidate.made_by, _BROKEN: broken[:LONGEST_TAG]}
        tags = origin | {name: value for name, value in own.items() if value}  # MLflow keeps no empty tags
        card = describe_version(candidate.figures, read_json(candidate.dials), tags)
        tags |= {_REGISTRATION: candidate.registration} if candidate.registration else {}
        made = store.client.create_model_version(MODEL, source, run_id, tags=tags, description=card, model_id=model_id)
        store.client.set_registered_model_alias(MODEL, CHALLENGER, made.version)
    if broken:
        _log.warning("version %s is registered, but %s: %s", made.version, CHAIN_IS_BROKEN, broken)
    return RegisteredVersion(str(made.version), run_id, figures, candidate.made_by, broken)


def name_registration(begun: Path, inputs: Mapping[str, Path]) -> str:
    """Return a new name, or that of a registration of the same inputs that was killed and left the file `begun`.

    It is written there before the registration, of the kind BEGUN, and who has registered deletes it.

    Args:
        begun: the file, which may not be there.
        inputs: name -> folder or file that decides what is registered.

    Raises:
        InputInvalid: the file is not ours.
    """
    content = {"name": uuid.uuid4().hex, "inputs": digest_parts(inputs)}
    if begun.is_file() and is_signed(begun, BEGUN) and (left := read_json(begun))["inputs"] == content["inputs"]:
        return str(left["name"])
    write_json(begun, content, BEGUN)
    return str(content["name"])


def find_version_at(store: Store, alias: str) -> RegisteredVersion | None:
    """Return the version that `alias` stands for, or None where it stands for none.

    Raises:
        ResourceUnavailable: MLflow cannot be reached.
    """
    found = find_model_version(store, alias)
    if found is None:
        return None
    return _add_figures(store, found)


def find_version(store: Store, number: str) -> RegisteredVersion:
    """Return version `number`.

    Raises:
        ResourceUnavailable: MLflow cannot be reached, or has no such version.
    """
    with require_answers(store.uri):
        return _add_figures(store, store.client.get_model_version(MODEL, number))


def find_number_at(store: Store, alias: str) -> str | None:
    """Return the number of the version that `alias` stands for, or None where it stands for none.

    Raises:
        ResourceUnavailable: MLflow cannot be reached.
    """
    found = find_model_version(store, alias)
    return None if found is None else str(found.version)


def make_challenger(project: Path, number: str, run_id: str) -> bool:
    """Make version `number`, which run `run_id` registered, the challenger; return False where the store has no such.

    DVC may restore the registration of an earlier version from its cache, and a store may be a new or another one.

    Raises:
        ResourceUnavailable: MLflow cannot be reached.
    """
    store = open_store(project)
    with require_answers(store.uri):
        found = store.client.search_model_versions(f"name = '{MODEL}'")
        if not any(str(each.version) == number and each.run_id == run_id for each in found):
            return False
        store.client.set_registered_model_alias(MODEL, CHALLENGER, number)
        return True


def find_registry_page(project: Path) -> str:
    """Return where a person sees the models and their runs: the server's page, or the command that shows the store."""
    store = open_store(project)
    if store.uri.startswith("http"):
        return f"{remove_credentials(store.uri).rstrip('/')}/#/models/{MODEL}"
    return f"{say_how_to_show_runs(project)}, then http://127.0.0.1:5000/#/models/{MODEL}"


def _add_figures(store: Store, found: "ModelVersion") -> RegisteredVersion:
    from mlflow.exceptions import MlflowException

    number, run_id = str(found.version), str(found.run_id)
    with require_answers(store.uri):
        try:
            figures = store.client.get_run(run_id).data.metrics
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            gone = f"run {run_id}, which holds the figures of {MODEL} version {number}, is gone from MLflow"
            raise InputInvalid(f"{gone}; bring it back from a backup, or delete that version there") from error
    return RegisteredVersion(number, run_id, figures, found.tags.get(_MADE_BY, ""), found.tags.get(_BROKEN, ""))


def find_model_version(store: Store, alias: str) -> "ModelVersion | None":
    """Return the version that `alias` stands for as MLflow has it, or None where it stands for none.

    Raises:
        ResourceUnavailable: MLflow cannot be reached.
    """
    from mlflow.exceptions import MlflowException

    with require_answers(store.uri):
        try:
            return store.client.get_model_version_by_alias(MODEL, alias)
        except MlflowException as error:
            # An alias that is not set is an invalid parameter to MLflow, a model that is not there a missing resource.
            if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                return None
            raise


def _find_registered(store: Store, registration: str) -> "ModelVersion | None":
    found = store.client.search_model_versions(f"name = '{MODEL}'") if registration else ()
    return next((each for each in found if each.tags.get(_REGISTRATION) == registration), None)


def _log_run(store: Store, run_id: str, candidate: ModelCandidate, figures: Mapping[str, float]) -> None:
    from mlflow.entities import Metric, Param
    from mlflow.utils.time import get_current_time_millis

    now = get_current_time_millis()
    trained_with = read_card(candidate.folders["composed"])["trained_with"]
    given = flatten_params(trained_with | {"sampling": read_json(candidate.dials)})
    metrics = [Metric(name, value, now, 0) for name, value in figures.items()]
    store.client.log_batch(run_id, metrics=metrics, params=[Param(name, value) for name, value in given])
    for path in candidate.files:
        store.client.log_artifact(run_id, str(path))


def _log_model(
    project: Path, store: Store, run_id: str, candidate: ModelCandidate, origin: Mapping[str, str]
) -> tuple[str, str, str]:
    """Write the model as a pyfunc made of code, safetensors and JSON.

    Returns:
        Its address, its id, and where its chain of digests breaks ("": nowhere).
    """
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # MLflow about its own type hints
        import mlflow.pyfunc

    with open_scratch() as temporary:
        folder = temporary / "model"
        parts = {**candidate.folders, candidate.dials.name: candidate.dials}
        chain = write_registered_chain(temporary, project, parts, origin)
        broken = "; ".join(read_origin(temporary)["broken"])
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(_CODE),
            artifacts={**{name: str(path) for name, path in parts.items()}, **chain},
            signature=make_signature(read_card(candidate.folders["composed"]), read_json(candidate.dials)),
            input_example=make_input_example(),
            pip_requirements=[f"{name}=={version(name)}" for name in _REQUIREMENTS],
        )
        model = store.client.create_logged_model(store.experiment_id, MODEL, source_run_id=run_id)
        store.client.log_model_artifacts(model.model_id, str(folder))
    store.client.finalize_logged_model(model.model_id, "READY")
    return str(model.artifact_location), str(model.model_id), broken


def ensure_registered_model(store: Store, name: str, description: str) -> None:
    """Make the registered model `name` where it is not there."""
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
