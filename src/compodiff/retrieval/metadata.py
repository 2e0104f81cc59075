"""What is known of a picture besides its pixels: columns that a filter can ask for."""

import os
from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from compodiff.errors import InputInvalid
from compodiff.images.files import is_regular

KEYS = ("path", "picture_id", "file")  # of a table of one's own: the picture's path from the folder
_CAPTION_CHARACTERS = 10_000


def of_files(folder: Path, names: Sequence[str], modified_ns: Sequence[int]) -> pd.DataFrame:
    """Columns of the pictures at `names` (paths from `folder`) beside their size: modified, folder, caption.

    A caption is the text file beside a picture: cat.txt, or cat.jpg.txt, for cat.jpg.
    """
    texts: dict[str, frozenset[str]] = {}
    captions = []
    for name in names:
        parent = _parent(name)
        if parent not in texts:
            texts[parent] = _texts_in(folder / parent)
        captions.append(_caption(folder / name, texts[parent]) if texts[parent] else None)
    return pd.DataFrame(
        {
            "modified": pd.Series(np.array(modified_ns, dtype="int64") // 1000).astype("datetime64[us]"),
            "folder": pd.Series([_parent(name) for name in names], dtype="string"),
            "caption": pd.Series(captions, dtype="string"),
        }
    )


def of_table(table: Path, names: Sequence[str], taken: Sequence[str]) -> pd.DataFrame:
    """Columns of a parquet or CSV file for the pictures at `names`, in their order; empty where it has no row.

    Raises:
        InputInvalid: it cannot be read, lacks a column of paths, names a picture twice, or a column is `taken`.
    """
    try:
        content = pd.read_parquet(table) if table.suffix.lower() == ".parquet" else pd.read_csv(table)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputInvalid(f"{table} cannot be read as {table.suffix or 'CSV'}: {reason}") from error
    key = next((name for name in KEYS if name in content.columns), None)
    if key is None:
        raise InputInvalid(f"{table} has none of the columns {', '.join(KEYS)}; add the pictures' paths as one")
    if twice := sorted(set(content[key][content[key].duplicated()].astype(str)))[:1]:
        raise InputInvalid(f"{table} names {twice[0]} twice; keep one row a picture")
    values = content.drop(columns=[name for name in KEYS if name in content.columns])
    if clash := sorted(set(values.columns) & set(taken)):
        raise InputInvalid(f"the column {clash[0]} of {table} is one that the index has already; rename it")
    return values.set_index(content[key].astype(str)).reindex(list(names)).reset_index(drop=True)


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _caption(picture: Path, texts: Container[str]) -> str | None:
    for beside in (f"{picture.stem}.txt", f"{picture.name}.txt"):
        if beside in texts and is_regular(path := picture.with_name(beside)):
            try:
                with path.open(encoding="utf-8", errors="replace") as file:
                    return file.read(_CAPTION_CHARACTERS).strip()
            except OSError:  # one that may not be read says nothing, as if it were not there
                continue
    return None


def _texts_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(each for each in os.listdir(folder) if each.endswith(".txt"))
    except OSError:
        return frozenset()
