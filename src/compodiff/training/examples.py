"""What there is to learn from: which rows of the embeddings belong together.

Each task is a table (examples, 4) of rows: TEXT says what to find, IMAGE is the reference, MASK the region to replace,
TARGET the picture to find. A masked picture's IMAGE row counts on from the last picture's.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compodiff.embeddings import Embeddings
from compodiff.errors import InputInvalid

TEXT, IMAGE, MASK, TARGET = range(4)
NOTHING = -1

Rows = NDArray[np.int64]
NO_ROWS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class TrainingExamples:
    """The training split, by task (paper section 4.2).

    Attributes:
        text_to_image: a caption finds its picture.
        masked: a masked picture, its mask and the caption of the whole find the whole.
        triplet: a reference and a relative caption find the target; triplets of one relation stand together.
        relation_starts: (relations + 1,) where each relation's triplets begin, and where the last one's end.
    """

    text_to_image: Rows
    masked: Rows
    triplet: Rows
    relation_starts: Rows


def make_training_examples(
    embeddings: Embeddings, captions: pd.DataFrame, triplets: pd.DataFrame | None = None
) -> TrainingExamples:
    """Look up the rows of the training split.

    Where a triplet's mask is known, the masked picture, the mask and the relative caption find the target as well.

    Args:
        embeddings: the embedded pictures and texts.
        captions: columns picture_id, caption; several captions of a picture are several rows.
        triplets: columns reference, target, relative_caption, relation; the accepted ones. None for stage 1.

    Raises:
        InputInvalid: a picture or text has no embedding, or a triplet's two pictures are one.
    """
    captioned = _make_table(
        text=find_rows(captions["caption"], embeddings.text_row),
        target=find_rows(captions["picture_id"], embeddings.picture_row),
    )
    return TrainingExamples(
        text_to_image=captioned,
        masked=np.concatenate([_list_masked(embeddings, captioned), _list_masked_edits(embeddings, triplets)]),
        triplet=_make_table(text=NO_ROWS, target=NO_ROWS) if triplets is None else _list_triplets(embeddings, triplets),
        relation_starts=np.zeros(1, dtype=np.int64) if triplets is None else _find_starts(triplets["relation"]),
    )


def find_rows(keys: "pd.Series[str]", rows: dict[str, int]) -> Rows:
    """The row of each picture id or text.

    Raises:
        InputInvalid: one has none.
    """
    found = keys.map(rows)
    if found.isna().any():
        raise InputInvalid(f"{keys[found.isna()].iloc[0]!r} has no embedding; run: dvc repro --single-item embed")
    return np.asarray(found, dtype=np.int64)


def _make_table(*, text: Rows, target: Rows, image: Rows | int = NOTHING, mask: Rows | int = NOTHING) -> Rows:
    table = np.full((len(text), 4), NOTHING, dtype=np.int64)
    table[:, TEXT], table[:, IMAGE], table[:, MASK], table[:, TARGET] = text, image, mask, target
    return table


def _list_masked(embeddings: Embeddings, captioned: Rows) -> Rows:
    """Every masked picture of the split with each caption of its picture, and with those of what it can become."""
    captions = pd.DataFrame({"text": captioned[:, TEXT], "target": captioned[:, TARGET]})
    wholes = pd.DataFrame({"target": embeddings.masked_pictures, "mask": np.arange(len(embeddings.masked))})
    edited = wholes.assign(target=embeddings.masked_targets)
    pictures = pd.concat([wholes, edited[edited["target"] != ""]], ignore_index=True)
    joined = pictures.assign(target=find_rows(pictures["target"], embeddings.picture_row)).merge(captions, on="target")
    return _tabulate_masked(embeddings, joined)


def _list_masked_edits(embeddings: Embeddings, triplets: pd.DataFrame | None) -> Rows:
    """Every triplet whose mask is known, in either direction: outside the mask both its pictures are equal."""
    if triplets is None:
        return _make_table(text=NO_ROWS, target=NO_ROWS)
    ends = [embeddings.masked_pictures, embeddings.masked_targets]
    there, back = (
        pd.DataFrame({"reference": a, "target": b, "mask": np.arange(len(a))}) for a, b in (ends, reversed(ends))
    )
    joined = pd.concat([there, back]).merge(triplets, on=["reference", "target"])
    text = find_rows(joined["relative_caption"], embeddings.text_row)
    target = find_rows(joined["target"], embeddings.picture_row)
    return _tabulate_masked(embeddings, joined.assign(text=text, target=target))


def _tabulate_masked(embeddings: Embeddings, joined: pd.DataFrame) -> Rows:
    mask = joined["mask"].to_numpy()
    return _make_table(
        text=joined["text"].to_numpy(),
        image=len(embeddings.pictures) + mask,
        mask=mask,
        target=joined["target"].to_numpy(),
    )


def _list_triplets(embeddings: Embeddings, triplets: pd.DataFrame) -> Rows:
    equal = triplets["reference"] == triplets["target"]
    if equal.any():
        twin = triplets["reference"][equal].iloc[0]
        raise InputInvalid(f"{twin} is reference and target of one triplet; run: dvc repro --single-item validate")
    ordered = triplets.sort_values("relation", kind="stable")
    return _make_table(
        text=find_rows(ordered["relative_caption"], embeddings.text_row),
        image=find_rows(ordered["reference"], embeddings.picture_row),
        target=find_rows(ordered["target"], embeddings.picture_row),
    )


def _find_starts(relations: "pd.Series[str]") -> Rows:
    """Where each relation begins once they are sorted, and the number of all: (relations + 1,)."""
    counts = relations.value_counts().sort_index().to_numpy()
    return np.concatenate([NO_ROWS, [0], np.cumsum(counts)]).astype(np.int64)
