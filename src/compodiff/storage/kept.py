"""Small answers that cost something to find, kept in the user's cache: XDG_CACHE_HOME, or ~/.cache.

What is kept may be deleted at any time, and nothing is where the cache cannot be written.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from compodiff.errors import CompoDiffError
from compodiff.storage.atomic import write_json


def read_kept(kind: str, key: str) -> dict[str, Any] | None:
    """Return what `keep` put down under a key, hexadecimal; None where there is nothing, or it is damaged."""
    with suppress(OSError, ValueError):
        known = json.loads((_find_cache() / kind / f"{key}.json").read_text(encoding="utf-8"))
        return known if isinstance(known, dict) else None
    return None


def keep(kind: str, key: str, content: dict[str, Any]) -> None:
    """Put JSON down under a key, hexadecimal, where that is possible."""
    folder = _find_cache()
    if folder.is_absolute():
        with suppress(CompoDiffError):
            write_json(folder / kind / f"{key}.json", content)


def _find_cache() -> Path:
    """Return the folder of what is kept; a relative one where the user has no home."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    home = named if named.startswith("/") else os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "compodiff"
