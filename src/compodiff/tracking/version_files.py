"""The files of a registered version: the folder they are read from, and whether they are there at all."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from compodiff.errors import InputInvalid
from compodiff.signing.chain import CHAIN, parse_chain
from compodiff.storage.atomic import replace_folder
from compodiff.storage.scratch import open_scratch
from compodiff.tracking.own_store import find_stored_version
from compodiff.tracking.registry import CHAMPION, MODEL, PREVIOUS, REGISTER, find_model_version, find_number_at
from compodiff.tracking.store import Store, open_store, require_answers

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_RUN_ID = re.compile("[0-9a-f]{32}")


def find_model_folder(project: Path, name: str = CHAMPION) -> Path:
    """Return a folder with the parts of a version: composed/, encoder/, index/.

    A store on this machine is read in place; from a server the version is fetched once.

    Args:
        project: whose store it is.
        name: an alias, or the number of a version.

    Raises:
        InputInvalid: the alias stands for no version, or there is no such version.
        ResourceUnavailable: MLflow cannot be reached, or the disk is full.
    """
    if stored := find_stored_version(project, MODEL, name):
        return stored.folder
    store = open_store(project)
    found = find_numbered(store, name) if name.isdecimal() else find_model_version(store, name)
    if found is None:
        raise InputInvalid(f"no version of {MODEL} is {name}; run: {_advise_on_missing(store, name)}")
    with require_answers(store.uri):
        address = urlsplit(store.client.get_model_version_download_uri(MODEL, found.version))
    if address.scheme in ("", "file"):
        folder = Path(unquote(address.path)) / "artifacts"
    else:
        folder = _fetch(project, store, found)
    if not folder.is_dir():
        raise _describe_gone(found, folder)
    return folder


def explain_missing_files(project: Path, number: str) -> str | None:
    """Return in words that files of version `number` are gone; None where all that its chain names are there.

    They are listed; only the chain is read.

    Raises:
        CheckpointMismatch: its chain names no files.
        ResourceUnavailable: MLflow cannot be reached, or has no such version.
    """
    store = open_store(project)
    with require_answers(store.uri):
        place = f"{store.client.get_model_version_download_uri(MODEL, number)}/artifacts"
        address = urlsplit(place)
        if address.scheme in ("", "file"):
            folder = Path(unquote(address.path))
            names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
            chain = (folder / CHAIN).read_bytes() if CHAIN in names else b""
        else:
            names = set(_list_files(store, place))
            chain = _read_file(store, f"{place}/{CHAIN}") if CHAIN in names else b""
    missing = parse_chain(chain, place).keys() - names if chain else ()
    if names and not missing:
        return None
    gone = f"file {min(missing)} of {MODEL} version {number} is" if names else f"files of {MODEL} version {number} are"
    return f"the {gone} gone ({place}); bring them back from a backup, or register another: {REGISTER}"


def _advise_on_missing(store: Store, name: str) -> str:
    if name == CHAMPION and find_number_at(store, PREVIOUS) is not None:
        return "compodiff rollback, which goes back to the champion before"
    return "make run, or dvc repro and compodiff promote"


def _describe_gone(found: "ModelVersion", place: Path | str) -> InputInvalid:
    way_out = "bring them back from a backup, or go to another version: compodiff rollback"
    return InputInvalid(f"the files of {MODEL} version {found.version} are gone ({place}); {way_out}")


def find_numbered(store: Store, number: str) -> "ModelVersion | None":
    """Return the version of that number as MLflow has it, or None where there is none.

    Raises:
        ResourceUnavailable: MLflow cannot be reached.
    """
    with require_answers(store.uri):
        found = store.client.search_model_versions(f"name = '{MODEL}'")
    return next((each for each in found if str(each.version) == number), None)


def _list_files(store: Store, place: str, below: str = "") -> Iterator[str]:
    """Yield the names of the files at `place`, those in folders with the folder before them."""
    from mlflow.artifacts import list_artifacts

    for found in list_artifacts(artifact_uri=place, tracking_uri=store.uri):
        name = Path(found.path).name
        if found.is_dir:
            yield from _list_files(store, f"{place}/{name}", f"{below}{name}/")
        else:
            yield f"{below}{name}"


def _read_file(store: Store, place: str) -> bytes:
    from mlflow.artifacts import download_artifacts

    with open_scratch() as temporary:
        fetched = download_artifacts(artifact_uri=place, dst_path=str(temporary), tracking_uri=store.uri)
        return Path(fetched).read_bytes()


def _fetch(project: Path, store: Store, found: "ModelVersion") -> Path:
    from mlflow.artifacts import download_artifacts

    run_id = str(found.run_id)
    if not _RUN_ID.fullmatch(run_id):  # the server's word, which is about to be a path
        raise InputInvalid(f"{store.uri} names a run {run_id!r}, not hexadecimal digits; check MLFLOW_TRACKING_URI")
    kept = project / "mlruns" / "fetched" / run_id
    if not kept.is_dir():
        with require_answers(store.uri), replace_folder(kept, "fetched model") as temporary:
            download_artifacts(f"models:/{MODEL}/{found.version}", dst_path=str(temporary), tracking_uri=store.uri)
            if not (temporary / "artifacts").is_dir():  # else an empty folder would be kept
                raise _describe_gone(found, str(found.source))
    return kept / "artifacts"
