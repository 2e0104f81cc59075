"""What of a folder is passed over: what a person's patterns name, and what other systems leave beside pictures.

Patterns are those of .gitignore. The only module that knows pathspec.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import pathspec

from compodiff.errors import InputInvalid

IGNORE_FILE = ".compodiffignore"
BY_PATTERN, HIDDEN = "by your patterns", "hidden"

_LARGEST = 2**20  # bytes of patterns
# Bins of what was deleted, thumbnails and copies that programs keep; small letters, as some systems write others.
_FOLDERS_OF_OTHERS = (
    "$recycle.bin",
    "recycler",
    "#recycle",
    "@recycle",
    "system volume information",
    "lost+found",
    "@eadir",
    "#snapshot",
    "~snapshot",
    "__macosx",
    "*.lrdata",
)
_HIDDEN_OF_OTHERS = ("._*", ".ds_store", ".trash*", ".thumbnails", ".thumbs", ".@__thumb", ".spotlight-*", ".fseventsd")
_FILES_OF_OTHERS = frozenset(("thumbs.db", "desktop.ini", "ehthumbs.db", "picasa.ini"))
_LIBRARY, _DERIVED = ".photoslibrary", "resources"  # Apple Photos: smaller copies of what lies in originals/


class Ignored:
    """What is passed over in one folder and below."""

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        """Take patterns; a later one counts more, and `!` takes back.

        Raises:
            InputInvalid: one of them is no pattern.
        """
        wanted = [line for line in patterns if line.strip() and not line.startswith("#")]
        try:
            self._spec = pathspec.GitIgnoreSpec.from_lines(wanted) if wanted else None
        except ValueError as error:  # GitIgnorePatternError is one
            raise InputInvalid(f"{wanted} cannot be used as patterns: {' '.join(str(error).split())}") from error

    @classmethod
    def read(cls, folder: Path, patterns: Sequence[str]) -> "Ignored":
        """Join the patterns in the folder's own file, where it has one, and `patterns`.

        Raises:
            InputInvalid: the file is there and cannot be read as patterns.
        """
        path = folder / IGNORE_FILE
        try:
            if not path.is_file():
                return cls(patterns)
            with path.open(encoding="utf-8-sig") as file:
                written = file.read(_LARGEST)
        except (OSError, ValueError) as error:
            raise InputInvalid(f"{path} cannot be read as patterns: {error}") from error
        return cls([*written.splitlines(), *patterns])

    def explain(self, below: str, name: str, *, is_folder: bool) -> str:
        """Return why an entry is passed over, "" where it is looked at. `below`: its folder's path, with a slash."""
        if known := _name_others(name, is_folder):
            return known
        if is_folder and name == _DERIVED and below.endswith(f"{_LIBRARY}/"):
            return f"*{_LIBRARY}/{_DERIVED}"
        if name.startswith("."):
            return HIDDEN
        if self._spec is not None and self._spec.match_file(f"{below}{name}{'/' if is_folder else ''}"):
            return BY_PATTERN
        return ""


def _name_others(name: str, is_folder: bool) -> str:
    small = name.casefold()
    if not is_folder and not small.startswith("."):
        return small if small in _FILES_OF_OTHERS else ""
    known = _HIDDEN_OF_OTHERS if small.startswith(".") else _FOLDERS_OF_OTHERS
    return next((pattern for pattern in known if fnmatchcase(small, pattern)), "")
