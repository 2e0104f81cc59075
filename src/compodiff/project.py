"""Where the project is, where a person's own models and indexes are, and whose the project's pictures are."""

import hashlib
import os
from importlib.resources import files
from pathlib import Path

from compodiff.errors import InputInvalid

ATTRIBUTION = (
    "Pictures: OpenMoji (openmoji.org), CC BY-SA 4.0; Twemoji (Twitter, Inc and other contributors), CC BY 4.0."
)


def find_project_root(start: Path | None = None) -> Path:
    """Return the folder that holds params.yaml, looking upwards from `start` (default: the current folder).

    Raises:
        InputInvalid: no folder upwards holds one.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file():
            return folder
    raise InputInvalid(f"{start} lies in no CompoDiff project (no params.yaml in it or above); run this inside one")


def find_project() -> Path | None:
    """Return the folder of the project around the current folder; None outside any."""
    try:
        return find_project_root()
    except InputInvalid:
        return None


def find_params_file() -> Path:
    """Return params.yaml of the project around the current folder; outside any, the one that the package brings."""
    return (find_project() or Path(str(files("compodiff") / "defaults"))) / "params.yaml"


def find_home() -> Path:
    """Return the folder of what belongs to a person and to no project; it may not be there yet.

    COMPODIFF_HOME says where; else the user's folder for data, as XDG names it.
    """
    if own := os.environ.get("COMPODIFF_HOME"):
        return Path(own).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME", "")
    home = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"  # a relative one does not count
    return home / "compodiff"


def find_project_or_home() -> Path:
    """Return the folder of the project around the current folder; outside any, the home."""
    return find_project() or find_home()


def find_models_home() -> Path:
    """Return the folder of the models that a person fetched or that a release brought, by name."""
    return find_home() / "models"


def find_index_home(folder: Path) -> Path:
    """Return where the index of a folder of pictures stands that may not be written: by its name and place.

    Raises:
        InputInvalid: the folder cannot be looked up.
    """
    try:
        place = folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a link to itself, a name that no file can have
        raise InputInvalid(f"{folder} cannot be looked up: {error}") from error
    return find_home() / "indexes" / f"{place.name or 'root'}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:12]}"
