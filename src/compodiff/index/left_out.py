"""Which pictures of a folder an index had to leave out, and why: none is looked at again until it changes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compodiff.errors import InputInvalid
from compodiff.images.kinds import name_readable_kinds
from compodiff.index.previous import UNSURE, Stamp
from compodiff.storage.arrays import open_array

_FILE = "left_out.npy"


@dataclass(frozen=True)
class Reason:
    """Why a picture is left out.

    Attributes:
        text: for people.
        sha256: of its bytes; "" where they could not be read.
        stamp: of its file; UNSURE where it is to be read again.
        is_of_other_kind: it may well be whole, but what would read it is not installed.
    """

    text: str
    sha256: str
    stamp: Stamp
    is_of_other_kind: bool = False


@dataclass(frozen=True)
class LeftOut:
    """Path from the folder -> why the picture there is not in the index."""

    reasons: Mapping[str, Reason] = field(default_factory=dict)

    @classmethod
    def read_beside(cls, index_folder: Path) -> "LeftOut":
        """Return what stands beside the index at `index_folder`; nothing if other kinds were read then than are now."""
        try:
            rows = open_array(index_folder / _FILE, mapped=False)
            kinds, found = rows["kinds"].tolist(), {row["name"].item(): _parse_reason(row) for row in rows}
        except (InputInvalid, ValueError, IndexError):
            return cls()
        return cls(found) if set(kinds) <= {name_readable_kinds()} else cls()

    def find_reason(self, name: str, sha256: str) -> Reason | None:
        """Return why the picture `name` is left out, as long as its bytes are those that were judged."""
        known = self.reasons.get(name)
        return known if known is not None and sha256 and known.sha256 == sha256 else None

    def is_unchanged(self, name: str, stamp: Stamp) -> bool:
        """Return whether the picture `name` was left out and its file is as it was."""
        known = self.reasons.get(name)
        return known is not None and stamp != UNSURE and known.stamp == stamp

    def join(self, more: "LeftOut", *, gone: Callable[[str], bool]) -> "LeftOut":
        """Return both as one, without those that are `gone` from the first."""
        return LeftOut({name: why for name, why in self.reasons.items() if not gone(name)} | dict(more.reasons))

    def make_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the array that stands beside an index for the next one; none where nothing was left out."""
        if not self.reasons:
            return {}
        name, text = max(map(len, self.reasons)), max(len(why.text) for why in self.reasons.values())
        fields = [("name", f"U{name}"), ("text", f"U{text}"), ("sha256", "U64"), ("other", "?")]
        kinds = name_readable_kinds()
        rows = [
            (name, why.text, why.sha256, why.is_of_other_kind, kinds, why.stamp)
            for name, why in sorted(self.reasons.items())
        ]
        kind: Any = [*fields, ("kinds", f"U{len(kinds)}"), ("stamp", "<i8", (len(UNSURE),))]
        return {_FILE: np.array(rows, dtype=kind)}


def _parse_reason(row: Any) -> Reason:
    size, time, inode = row["stamp"].tolist()
    return Reason(row["text"].item(), row["sha256"].item(), (size, time, inode), row["other"].item())
