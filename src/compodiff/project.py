"""Where the project is, where a person's fetched models are, and whose the project's pictures are."""

import os
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


def find_models_home() -> Path:
    """Return the folder of the models that a person fetched, by name; it may not be there yet.

    COMPODIFF_HOME says where; else the user's folder for data, as XDG names it.
    """
    if own := os.environ.get("COMPODIFF_HOME"):
        return Path(own).expanduser() / "models"
    data = os.environ.get("XDG_DATA_HOME", "")
    home = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"  # a relative one does not count
    return home / "compodiff" / "models"
