"""The model that a released wheel carries: packed by `make release`, unpacked into the model home when first asked for.

The wheel holds what was trained, in half precision; the frozen towers come from the packages that they are files of.
"""

import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

NAME = re.compile("compodiff-[0-9a-f]{12}")  # of the model: by the digest of what the wheel holds
FOLDER = Path(str(files("compodiff") / "bundled" / "model"))  # in an installed wheel; not in a clone
DESCRIPTION, WEIGHTS = "model.json", "trained.safetensors"


@cache
def read_description(folder: Path = FOLDER) -> dict[str, Any] | None:
    """Return what the wheel says of its model: name, version, encoder, card, dials and demo; None without a model."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def find_bundled_name(folder: Path = FOLDER) -> str | None:
    """Return the name of the model that this installation carries; None where it carries none."""
    content = read_description(folder)
    return None if content is None else str(content["name"])
