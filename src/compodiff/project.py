"""Where the project is, and whose its pictures are."""

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
