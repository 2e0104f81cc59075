"""What is known of a picture besides its pixels: columns that a filter can ask for."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from compodiff.images import COLUMNS
from compodiff.images.facts import PhotoFacts
from compodiff.images.files import is_regular
from compodiff.images.metadata_blocks import read_facts, read_sidecar
from compodiff.index.index import GROUP
from compodiff.index.places import name_places

FACTS = tuple(each.name for each in fields(PhotoFacts))
SIDECAR = "sidecar"  # when the file of XMP beside a picture was written, 1970 where there is none; empty: never looked
# All columns of an index of a folder that the program itself makes.
COLUMNS_OF_FILES = (
    *(*COLUMNS, "size", "modified", "folder", "caption", "width", "height", "orientation", GROUP),
    *(SIDECAR, *FACTS),
)
_DTYPES = {"taken": "datetime64[us]", "latitude": "float64", "longitude": "float64", "rating": "Int64"}
_CAPTION_CHARACTERS = 10_000
BESIDE = (".txt", ".xmp")

NamesBeside = Mapping[str, str]  # in small letters -> as it is written


class BesideFiles:
    """The texts and the files of XMP beside pictures; each folder is listed once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, NamesBeside] = {}

    def find(self, name: str, suffix: str) -> Path | None:
        """Return cat.txt, or else cat.jpg.txt, for cat.jpg and ".txt"; None where there is none."""
        parent, _, own = name.rpartition("/")
        if parent not in self._known:
            self._known[parent] = _list_beside(self._folder / parent)
        known = self._known[parent]
        if not known:
            return None
        for beside in (os.path.splitext(own)[0], own):
            if (found := known.get(f"{beside}{suffix}".casefold())) and is_regular(
                path := self._folder / parent / found
            ):
                return path
        return None


def read_metadata(
    folder: Path, names: Sequence[str], modified_ns: Sequence[int], sha256: Sequence[str], earlier: pd.DataFrame | None
) -> pd.DataFrame:
    """Return columns of the pictures at `names` (paths from `folder`) beside their size: modified, folder, caption ...

    A caption is the text file beside a picture: cat.txt, or cat.jpg.txt, for cat.jpg. What cat.xmp or cat.jpg.xmp says
    counts more than what the picture's own file does.

    Args:
        folder: that of the pictures.
        names: of the pictures.
        modified_ns: when each file was written.
        sha256: of each one's bytes.
        earlier: the table of an earlier index; files that it knows are not read.
    """
    beside = BesideFiles(folder)
    captions = [_read_caption(beside.find(name, ".txt")) for name in names]
    known = pd.DataFrame(
        {
            "modified": _make_times(modified_ns),
            "folder": pd.Series([name.rpartition("/")[0] for name in names], dtype="string"),
            "caption": pd.Series(captions, dtype="string"),
        }
    )
    return pd.concat([known, _collect_facts(folder, names, sha256, beside, earlier)], axis=1)


def find_orientations(width: "pd.Series[int]", height: "pd.Series[int]") -> "pd.Series[str]":
    """Return whether pictures are wide, tall or square."""
    shapes = np.select([width > height, width < height], ["landscape", "portrait"], "square")
    return pd.Series(shapes, dtype="string")


def _collect_facts(
    folder: Path, names: Sequence[str], sha256: Sequence[str], beside: BesideFiles, earlier: pd.DataFrame | None
) -> pd.DataFrame:
    """Return what the files say, (SIDECAR, *FACTS); of one that is as `earlier` knows it, what that says."""
    sidecars = [beside.find(name, ".xmp") for name in names]
    written = [0 if path is None else _read_time(path) for path in sidecars]
    rows = _find_known(earlier, list(zip(sha256, _make_times(written), strict=True)))
    facts = [
        None if row >= 0 else _read_both(folder / name, path)
        for name, path, row in zip(names, sidecars, rows.tolist(), strict=True)
    ]
    fresh = pd.DataFrame([astuple(each) for each in facts if each is not None], columns=list(FACTS))
    fresh = _name_places(fresh).astype({name: _DTYPES.get(name, "string") for name in FACTS})
    fresh.index = pd.Index(np.flatnonzero(rows < 0))
    table = fresh
    if earlier is not None and (rows >= 0).any():
        kept = earlier.iloc[rows[rows >= 0]][list(FACTS)].set_axis(np.flatnonzero(rows >= 0))
        table = pd.concat([each for each in (fresh, kept) if len(each)]).sort_index()
    return table.assign(**{SIDECAR: _make_times(written)})[[SIDECAR, *FACTS]]


def _find_known(earlier: pd.DataFrame | None, wanted: Sequence[tuple[str, Any]]) -> np.ndarray[Any, Any]:
    """Return the row of `earlier` with the bytes and the time of the sidecar of each picture, or -1."""
    if earlier is None or not {SIDECAR, *FACTS} <= {*earlier.columns}:
        return np.full(len(wanted), -1)
    known = {key: row for row, key in enumerate(zip(earlier["sha256"], earlier[SIDECAR], strict=True))}
    return np.array([known.get(key, -1) for key in wanted], dtype=np.int64)


def _read_both(picture: Path, sidecar: Path | None) -> PhotoFacts:
    own = read_facts(picture)
    return own if sidecar is None else read_sidecar(sidecar).complete(own)


def _name_places(facts: pd.DataFrame) -> pd.DataFrame:
    """Return facts with the names of places that have coordinates alone."""
    unnamed = facts["place"].isna() & facts["latitude"].notna()
    if not unnamed.any():
        return facts
    coordinates = facts.loc[unnamed, ["latitude", "longitude"]].itertuples(index=False, name=None)
    facts.loc[unnamed, "place"] = pd.Series(name_places(list(coordinates)), index=facts.index[unnamed], dtype="object")
    return facts


def _read_caption(path: Path | None) -> str | None:
    try:
        if path is not None:
            with path.open(encoding="utf-8", errors="replace") as file:
                return file.read(_CAPTION_CHARACTERS).strip()
    except OSError:  # one that may not be read says nothing, as if it were not there
        pass
    return None


def _read_time(path: Path) -> int:
    try:
        return min(max(path.stat().st_mtime_ns, 0), 2**63 - 1)
    except OSError:
        return 0


def _make_times(nanoseconds: Sequence[int]) -> "pd.Series[pd.Timestamp]":
    return pd.Series(np.array(nanoseconds, dtype="int64") // 1000).astype("datetime64[us]")


def _list_beside(folder: Path) -> NamesBeside:
    try:
        found = [each for each in os.listdir(folder) if each.lower().endswith(BESIDE)]
    except OSError:
        return {}
    return {each.casefold(): each for each in sorted(found, reverse=True)}
