"""What of a disk an index is over: one folder or several, and what in them is passed over."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compodiff.errors import InputInvalid
from compodiff.images import PictureListing, list_pictures
from compodiff.index.scanning import resolve
from compodiff.storage.arrays import open_array

_FOLDERS, _PATTERNS = "folders.npy", "patterns.npy"
_WHOLE = ("",)


@dataclass(frozen=True)
class Sources:
    """Where the pictures of an index are looked for.

    Attributes:
        root: the folder that their names start from: the one folder, or the lowest that holds all.
        folders: those below it that are looked at, each with a slash behind; "" for all of it.
        patterns: what is passed over, as in a .gitignore.
    """

    root: Path
    folders: tuple[str, ...] = _WHOLE
    patterns: tuple[str, ...] = ()

    @classmethod
    def join(cls, folders: Sequence[Path]) -> "Sources":
        """Join folders; one that lies in another is a part of it already."""
        found = sorted({resolve(folder) for folder in folders})
        outer = [path for path in found if not any(path != each and path.is_relative_to(each) for each in found)]
        if len(outer) == 1:
            return cls(outer[0])
        root = Path(os.path.commonpath(outer))
        return cls(root, tuple(f"{path.relative_to(root).as_posix()}/" for path in outer))

    @classmethod
    def read_beside(cls, index_folder: Path, root: Path) -> "Sources":
        """Return those of the index at `index_folder`, which is over `root`; all of it where it says nothing else."""
        return cls(root, _read_texts(index_folder / _FOLDERS) or _WHOLE, _read_texts(index_folder / _PATTERNS))

    def hold(self, folder: Path) -> bool:
        """Return whether `folder` is the root or one of the folders."""
        return folder == self.root or any(folder == self.root / each for each in self.folders)

    def list_paths(self) -> list[str]:
        """Return the folders' own paths."""
        return [str(self.root / each) for each in self.folders]

    def exclude(self, patterns: Sequence[str]) -> "Sources":
        """Return them with other patterns."""
        return replace(self, patterns=tuple(patterns))

    def list_pictures(self) -> PictureListing:
        """List the pictures that are there; see `images.list_pictures`."""
        return list_pictures(self.root, folders=self.folders, patterns=self.patterns, without_twins=True)

    @property
    def is_of_several(self) -> bool:
        """Whether they are several folders."""
        return len(self.folders) > 1

    def require_those_of(self, before: "Sources", index_folder: Path) -> None:
        """Refuse to replace an index of more folders below the same root.

        Raises:
            InputInvalid: the one at `index_folder` is also of others.
        """
        if self.is_of_several and (gone := sorted({*before.folders} - {*self.folders, ""})):
            raise InputInvalid(
                f"the index {index_folder} is also of {before.root / gone[0]}; name all its folders, "
                "or another place with --out"
            )

    def make_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return what stands beside an index for the next one."""
        folders = {} if self.folders == _WHOLE else {_FOLDERS: np.array(self.folders)}
        return folders | ({_PATTERNS: np.array(self.patterns)} if self.patterns else {})


def _read_texts(path: Path) -> tuple[str, ...]:
    try:
        return tuple(open_array(path, mapped=False).tolist())
    except InputInvalid:
        return ()
