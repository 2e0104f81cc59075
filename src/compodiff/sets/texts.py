"""What the rows of a set say, as columns: names of pictures and texts, which never become Python objects."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from compodiff.sets.blank import is_blank
from compodiff.sets.form import PAIRS, TRIPLETS, Shard
from compodiff.sets.reading import TrainingSet

_SEEN = r"\p{L}|\p{N}|\p{P}|\p{S}"  # most texts are settled by it; `is_blank` is asked about the others
_COLUMNS = {
    PAIRS: ("key", "split", "picture", "texts"),
    TRIPLETS: (
        *("key", "split", "reference", "target"),
        *("reference_caption", "target_caption", "relative_captions", "relation"),
    ),
}


def read_texts(training_set: TrainingSet, shard: Shard) -> pd.DataFrame:
    """Return what a shard's rows say: key, shard, split, names of pictures, texts; of several, the longest.

    Raises:
        InputInvalid: the shard is missing, cut short, or another one.
    """
    kind = training_set.description.kind
    rows = training_set.read_rows(shard, _COLUMNS[kind])
    columns = {"key": rows["key"], "shard": pa.array([shard.file] * len(rows), pa.string()), "split": rows["split"]}
    if kind == PAIRS:
        columns |= {"picture": _name_pictures(rows, "picture"), "text": _take_longest(rows["texts"])}
    else:
        columns |= {
            **{end: _name_pictures(rows, end) for end in ("reference", "target")},
            **{name: _drop_blank(rows[name]) for name in ("reference_caption", "target_caption")},
            "relative_caption": _take_longest(rows["relative_captions"]),
            "relation": rows["relation"],
        }
    named: pd.DataFrame = pa.table(columns).to_pandas()
    return named


def _name_pictures(rows: pa.Table, column: str) -> pa.ChunkedArray:
    return pc.struct_field(rows[column], "name")


def _find_blank(texts: pa.Array) -> NDArray[np.bool_]:
    """Return which texts say nothing, null ones too. texts, returned: (N,)."""
    says = pc.fill_null(pc.match_substring_regex(texts, _SEEN), False).to_numpy(zero_copy_only=False)
    return np.array([not said and is_blank(texts[place].as_py()) for place, said in enumerate(says)], np.bool_)


def _drop_blank(texts: pa.ChunkedArray) -> pa.Array:
    whole = texts.combine_chunks()
    return pc.if_else(pa.array(_find_blank(whole)), pa.scalar(None, pa.string()), whole)


def _take_longest(lists: pa.ChunkedArray) -> pa.Array:
    """Return the longest text of each list, the first of several; null where there is none but blank ones."""
    whole = lists.combine_chunks()
    parents, texts = pc.list_parent_indices(whole).to_numpy(), pc.list_flatten(whole)
    lengths = np.where(_find_blank(texts), 0, pc.fill_null(pc.utf8_length(texts), 0).to_numpy())
    order = np.lexsort((-lengths, parents))  # stable: of equal lengths, the first stays first
    owners, first = np.unique(parents[order], return_index=True)
    places = np.full(len(whole), -1)
    places[owners] = order[first]
    is_missing = (places < 0) | (lengths[places] == 0 if len(lengths) else True)
    return texts.take(pa.array(places, mask=is_missing))
