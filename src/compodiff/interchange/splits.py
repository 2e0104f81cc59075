"""Which split a row is of, by what it and its file say: what somebody tests on is never trained on."""

import re
from pathlib import PurePath
from typing import Any

from compodiff.interchange.faults import BAD_SPLIT, Fault

TEST = "test"
_SAID = {
    **dict.fromkeys(("train", "training", "restval"), "train"),
    **dict.fromkeys(("val", "dev", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), TEST),
}
_STRENGTH = ("train", "validation", TEST)


def split_of_file(path: PurePath, default: str) -> str:
    """Return the split that a path says, by whole words of its names, the file's before its folders'; or the default.

    Of a name that says several, the one that is farthest from training counts.
    """
    for name in (path.stem, *reversed(path.parent.parts)):
        if said := [_SAID[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _SAID]:
            return max(said, key=_STRENGTH.index)
    return default


def split_of_folder(folder: PurePath, default: str) -> str:
    """Return the split that a folder's name is, up to digits ("val2014"); or the default."""
    return _SAID.get(re.sub(r"[\d_-]+$", "", folder.name.lower()), default)


def split_of_row(said: Any, of_file: str) -> str:
    """Return a row's split: its own word, unless its file is farther from training.

    Raises:
        Fault: it says a split that is none of those that are known.
    """
    if said is None or said == "":
        return of_file
    known = _SAID.get(re.sub(r"[\d_-]+$", "", str(said).strip().lower()))
    if known is None:
        raise Fault(BAD_SPLIT, f"has the split {str(said)[:40]!r}, which is none of train, validation, test")
    return max(known, of_file, key=_STRENGTH.index)
