"""Sets whose rows are judged: real, of real pictures, embedded by a tiny CLIP; a test puts in only its faults."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from factories import draw_noise, encode_picture, make_validation_params

from compodiff.embeddings import SetEmbeddings
from compodiff.images import decode
from compodiff.images.decoding import digest_pixels
from compodiff.params import OwnSetParams, SimilarityFloors, ValidationParams
from compodiff.sets import finish_set, open_set, open_shard
from compodiff.validation import HeldOut, Judged, Verdict, shorten_digests, validate_rows

TOLERANT = make_validation_params(max_text_length=60)  # a tenth of the rows may be quarantined
TRAIN, HELD = 24, 6  # rows of the training split, in two shards, and of the validation split

Row = dict[str, Any]
Change = Callable[[list[Row]], None]  # of rows of which the pictures are bytes


def picture(number: int) -> bytes:
    return encode_picture(draw_noise(number, 16, 16))


def list_triplets() -> list[Row]:
    """Rows without a fault: no two show the same picture."""
    return [
        {
            "key": f"row-{number:03d}",
            "split": "train" if number < TRAIN else "validation",
            "shard": number // (TRAIN // 2),
            "reference": picture(2 * number),
            "target": picture(2 * number + 1),
            "reference_caption": f"a red disc {number}",
            "target_caption": f"a blue disc {number}",
            "relative_captions": ["make it blue", "blue, please"],
            "relation": "colour",
            "keyword": "blue",
            "mask": None,
            "negatives": [],
        }
        for number in range(TRAIN + HELD)
    ]


def list_pairs() -> list[Row]:
    return [
        {name: row[name] for name in ("key", "split", "shard")}
        | {"picture": row["reference"], "texts": [row["reference_caption"], "a disc"]}
        for row in list_triplets()
    ]


def write_set(folder: Path, kind: str, rows: Sequence[Row]) -> Path:
    for number in sorted({row["shard"] for row in rows}):
        own = [row for row in rows if row["shard"] == number]
        with open_shard(folder, own[0]["split"], number, kind) as shard:
            for place, row in enumerate(own):
                columns = {name: value for name, value in row.items() if name not in ("split", "shard", "called")}
                for name in ("reference", "target", "picture"):
                    if name in columns:
                        called = row.get("called", f"{number}-{place}")
                        columns[name] = shard.store_picture(f"{name}-{called}", columns[name])
                shard.add(columns)
    finish_set(folder, kind, licence="", source="this test")
    return folder


@dataclass(frozen=True)
class Made:
    """A set that is written and embedded."""

    folder: Path
    embeddings: Path

    def change_array(self, name: str, change: Callable[[np.ndarray], None]) -> None:
        array = np.load(self.embeddings / f"{name}.npy")
        change(array)
        np.save(self.embeddings / f"{name}.npy", array)


def params_of(floors: SimilarityFloors | None = None, min_rows: int = 10) -> OwnSetParams:
    return OwnSetParams(recipe="own", reads="set.json", min_rows=min_rows, floors=floors)


NOTHING = HeldOut(np.empty(0, np.uint64), np.empty(0, np.uint64))


def hold(
    made: Made, docs: Path, params: OwnSetParams | None = None, held_out: HeldOut = NOTHING,
    validation: ValidationParams = TOLERANT,
) -> tuple[Verdict, pd.DataFrame, dict[str, str]]:  # fmt: skip
    """Return the verdict, what was said of each row, and key -> failed expectations of those in quarantine."""
    judged = Judged(open_set(made.folder), SetEmbeddings.load(made.embeddings), held_out)
    *groups, verdict = validate_rows(judged, params or params_of(), validation, docs)
    assert isinstance(verdict, Verdict)
    quarantine = pd.concat([group[1] for group in groups])
    return verdict, pd.concat([group[0] for group in groups]), dict(quarantine[["key", "failed"]].to_numpy())


def digest_whole(*contents: bytes) -> np.ndarray:
    return np.frombuffer(b"".join(digest_pixels(decode(it)) for it in contents), np.uint8).reshape(-1, 16)


def digest(*contents: bytes) -> np.ndarray:
    return shorten_digests(digest_whole(*contents))


def put(number: int, **values: Any) -> Change:
    return lambda rows: rows[number].update(values)


TRIPLET_FAULTS: dict[str, tuple[Change, str, set[int]]] = {
    "a relative caption without a text": (
        put(3, relative_captions=["\u200b "]), "expect_column_values_to_not_be_null(relative_caption)", {3},
    ),
    "a longest relative caption that is too long": (
        put(4, relative_captions=["short", "long " * 20]),
        "expect_column_value_lengths_to_be_between(relative_caption)", {4},
    ),
    "a target's caption that is too long": (
        put(5, target_caption="long " * 20), "expect_column_value_lengths_to_be_between(target_caption)", {5},
    ),
    "a reference that does not decode": (
        put(6, reference=picture(12)[:60]), "expect_column_values_to_not_be_null(reference_pixels)", {6},
    ),
    "a target that is no picture": (
        put(7, target=b"<html>"), "expect_column_values_to_not_be_null(target_pixels)", {7},
    ),
    "a training row that shows a picture of the validation split": (
        put(8, target=picture(2 * TRAIN)), "expect_column_values_to_be_null(held_out_twin)", {8},
    ),
    "no relation": (put(9, relation=None), "expect_column_values_to_not_be_null(relation)", {9}),
}  # fmt: skip
PAIR_FAULTS: dict[str, tuple[Change, str, set[int]]] = {
    "no text": (put(3, texts=["", " \u200b"]), "expect_column_values_to_not_be_null(text)", {3}),
    "a text that is too long": (
        put(4, texts=["short", "long " * 20]), "expect_column_value_lengths_to_be_between(text)", {4},
    ),
    "a picture that does not decode": (
        put(5, picture=b"\x89PNG"), "expect_column_values_to_not_be_null(reference_pixels)", {5},
    ),
    "a picture of the validation split": (
        put(6, picture=picture(2 * TRAIN)), "expect_column_values_to_be_null(held_out_twin)", {6},
    ),
}  # fmt: skip
