"""What the rows of a set say, as columns: names of pictures and texts, which never become Python objects."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from compodiff.sets.form import PAIRS, TRIPLETS, Shard
from compodiff.sets.reading import TrainingSet

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
            **{name: _drop_empty(rows[name]) for name in ("reference_caption", "target_caption")},
            "relative_caption": _take_longest(rows["relative_captions"]),
            "relation": rows["relation"],
        }
    named: pd.DataFrame = pa.table(columns).to_pandas()
    return named


def _name_pictures(rows: pa.Table, column: str) -> pa.ChunkedArray:
    return pc.struct_field(rows[column], "name")


def _drop_empty(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _take_longest(lists: pa.ChunkedArray) -> pa.Array:
    """Return the longest text of each list, the first of several; null where there is none but empty ones."""
    whole = lists.combine_chunks()
    parents, texts = pc.list_parent_indices(whole).to_numpy(), pc.list_flatten(whole)
    lengths = pc.fill_null(pc.utf8_length(texts), 0).to_numpy()
    order = np.lexsort((-lengths, parents))  # stable: of equal lengths, the first stays first
    owners, first = np.unique(parents[order], return_index=True)
    places = np.full(len(whole), -1)
    places[owners] = order[first]
    is_missing = (places < 0) | (lengths[places] == 0 if len(lengths) else True)
    return texts.take(pa.array(places, mask=is_missing))
