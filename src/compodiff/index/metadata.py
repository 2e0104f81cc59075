"""What is known of a picture besides its pixels: columns that a filter can ask for."""

import os
from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from compodiff.images import COLUMNS
from compodiff.images.files import is_regular
from compodiff.index.index import GROUP

# All columns of an index of a folder that the program itself makes.
COLUMNS_OF_FILES = (*COLUMNS, "size", "modified", "folder", "caption", "width", "height", GROUP)
_CAPTION_CHARACTERS = 10_000


def read_metadata(folder: Path, names: Sequence[str], modified_ns: Sequence[int]) -> pd.DataFrame:
    """Return columns of the pictures at `names` (paths from `folder`) beside their size: modified, folder, caption.

    A caption is the text file beside a picture: cat.txt, or cat.jpg.txt, for cat.jpg.
    """
    texts: dict[str, frozenset[str]] = {}
    captions = []
    for name in names:
        parent = _name_parent(name)
        if parent not in texts:
            texts[parent] = _list_texts(folder / parent)
        captions.append(_read_caption(folder / name, texts[parent]) if texts[parent] else None)
    return pd.DataFrame(
        {
            "modified": pd.Series(np.array(modified_ns, dtype="int64") // 1000).astype("datetime64[us]"),
            "folder": pd.Series([_name_parent(name) for name in names], dtype="string"),
            "caption": pd.Series(captions, dtype="string"),
        }
    )


def _name_parent(name: str) -> str:
    return name.rpartition("/")[0]


def _read_caption(picture: Path, texts: Container[str]) -> str | None:
    for beside in (f"{picture.stem}.txt", f"{picture.name}.txt"):
        if beside in texts and is_regular(path := picture.with_name(beside)):
            try:
                with path.open(encoding="utf-8", errors="replace") as file:
                    return file.read(_CAPTION_CHARACTERS).strip()
            except OSError:  # one that may not be read says nothing, as if it were not there
                continue
    return None


def _list_texts(folder: Path) -> frozenset[str]:
    try:
        return frozenset(each for each in os.listdir(folder) if each.endswith(".txt"))
    except OSError:
        return frozenset()
