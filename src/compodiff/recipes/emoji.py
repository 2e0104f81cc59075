"""The emoji catalogue as sets: its captions as pairs, and its relations as triplets in which one term is replaced.

Unicode names both pictures of a relation, so the target's caption is the reference's with the relation's term replaced
("woman" by "man") or added ("with dark skin tone"), always in grammatical English.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from compodiff.catalogue.captions import list_picture_captions, list_relative_captions
from compodiff.catalogue.pictures import Catalogue
from compodiff.catalogue.relations import STYLE
from compodiff.pairs.pair import CaptionPair
from compodiff.params import EmojiEditsParams
from compodiff.sets import SPLITS, Place


def place_pictures(catalogue: Catalogue, folder: Path) -> dict[str, Place]:
    """Return where each picture of the catalogue lies, seen from the folder of a set."""
    rows = catalogue.pictures[["shard", "offset", "length"]].itertuples()
    return {
        str(name): Place(str(name), os.path.relpath(catalogue.data / shard, folder), int(offset), int(length))
        for name, shard, offset, length in rows
    }


def list_captioned_pictures(catalogue: Catalogue) -> list[tuple[str, str, list[str]]]:
    """Return id, split and captions of every picture of train and validation concepts; nothing of test concepts."""
    seen = catalogue.pictures[catalogue.pictures["split"].isin(SPLITS)]
    return [(str(name), row["split"], list_picture_captions(row)) for name, row in seen.to_dict("index").items()]


def list_caption_pairs(catalogue: Catalogue, params: EmojiEditsParams) -> list[CaptionPair]:
    """List the caption pairs of all relations between train and between validation concepts.

    Pairs of one concept are neighbours, so that a shard holds few distinct pictures. The same catalogue and params
    give the same pairs, in the same order and under the same keys.
    """
    generator = np.random.default_rng(params.seed)
    relations = catalogue.relations[catalogue.relations["split"].isin(SPLITS)]
    concepts = catalogue.pictures["concept"].loc[relations["reference"]].to_numpy()
    chosen = _take_in_turns(relations.assign(concept=concepts), params.max_pairs_per_relation, generator)
    ordered = chosen.sort_values(["split", "concept", "reference", "target", "relation"], ignore_index=True)
    return list(_word_pairs(ordered, catalogue.pictures, params.captions_per_pair, generator))


def _take_in_turns(relations: pd.DataFrame, most: int, generator: np.random.Generator) -> pd.DataFrame:
    """Keep at most `most` pairs of a relation in a split; concepts take turns, so those with many pairs lose first."""
    shuffled = relations.iloc[generator.permutation(len(relations))]
    turn = shuffled.groupby(["split", "relation", "concept"]).cumcount()
    in_turns = shuffled.assign(turn=turn).sort_values("turn", kind="stable")
    return in_turns.groupby(["split", "relation"]).head(most).drop(columns="turn")


def _word_pairs(
    rows: pd.DataFrame, pictures: pd.DataFrame, captions_per_pair: int, generator: np.random.Generator
) -> Iterator[CaptionPair]:
    """Give each row its captions, and relative captions drawn without repetition."""
    described: dict[Any, Any] = pictures[["caption", "style"]].to_dict("index")
    numbers = dict.fromkeys(SPLITS, 0)
    for row in rows.to_dict("records"):
        wordings = list_relative_captions(row["relation"], row["reference_term"], row["target_term"])
        for wording in generator.permutation(len(wordings))[:captions_per_pair]:
            yield CaptionPair(
                key=f"{row['split']}-{numbers[row['split']]:08d}",
                split=row["split"],
                reference=row["reference"],
                target=row["target"],
                reference_caption=_choose_caption(described[row["reference"]], row["relation"]),
                target_caption=_choose_caption(described[row["target"]], row["relation"]),
                relative_caption=wordings[wording],
                relation=row["relation"],
                keyword=row["target_term"],
            )
            numbers[row["split"]] += 1


def _choose_caption(picture: dict[str, Any], relation: str) -> str:
    """Choose a caption that names the style only where the style is what changes."""
    plain, in_style, *_ = list_picture_captions(picture)
    return in_style if relation == STYLE else plain
