"""Whether the pictures of an index are as they were, by what the file system says of them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compodiff.images import PictureListing
from compodiff.images.ignoring import BY_PATTERN
from compodiff.index.comparing import open_index
from compodiff.index.metadata import BESIDE, FACTS, SIDECAR
from compodiff.index.previous import UNSURE, EarlierIndex, stamp_file
from compodiff.index.scanning import name_in

_READERS, _AT_ONCE = 4, 8192


def has_changed(index_folder: Path, folder: Path, listing: PictureListing) -> bool:
    """Return whether a picture of an index is gone, or its file is not as it was; no file is read.

    One that was written in the seconds before it was indexed counts as changed.
    """
    earlier = EarlierIndex(open_index(index_folder, folder))
    names = {name_in(folder, path): path for path in listing.files}
    return any(
        name not in names or earlier.find_unchanged(name, stamp_file(names[name])) is None
        for name in earlier.index.picture_ids
    )


def is_as_built(earlier: EarlierIndex, folder: Path, listing: PictureListing) -> bool:
    """Return whether an index is what another build over the files of `listing` would make; no file is read.

    False also where it would take longer to find out: files lie beside the pictures, or some were left out.
    """
    table = earlier.index.pictures
    if listing.left_out or listing.passed[BY_PATTERN] or any(listing.beside[suffix] for suffix in BESIDE):
        return False
    if not {SIDECAR, *FACTS} <= {*table.columns} or table["caption"].notna().any():
        return False
    if (table[SIDECAR] != pd.Timestamp(0)).any() or len(table) != len(listing.files):
        return False
    skipped = len(f"{folder}/")
    names = [path[skipped:] for path in map(str, listing.files)]
    return names == earlier.index.picture_ids and earlier.has_stamps(_read_stamps(listing.files))


def _read_stamps(files: Sequence[Path]) -> NDArray[np.int64]:
    """Return the stamps of files, (N, 3); threads wait for disks and networks."""
    with ThreadPoolExecutor(_READERS) as readers:
        stamps = readers.map(_stamp_all, (files[at : at + _AT_ONCE] for at in range(0, len(files), _AT_ONCE)))
        return np.concatenate([np.empty((0, len(UNSURE)), np.int64), *stamps])


def _stamp_all(files: Sequence[Path]) -> NDArray[np.int64]:
    return np.array([stamp_file(path) for path in files], np.int64)
