"""A set of triplets of coloured discs, and what the stage validate says of it, as a project has them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from compodiff.params import SimilarityFloors
from compodiff.sets import TRIPLETS, finish_set, open_shard
from compodiff.storage.atomic import replace_folder
from compodiff.storage.tables import write_table

RELATIONS = ("add", "remove", "turn_left")
MASK = np.packbits(np.eye(64, dtype=np.bool_).reshape(-1)).tobytes()


def write_discs(artifacts: Path, count: int, relations: tuple[str, ...] = RELATIONS, licence: str = "CC0") -> Path:
    """Write artifacts/sets/discs, two shards, and artifacts/validation/discs; return the set's folder.

    Every fifth row is rejected by the filter `directional`, every sixth has a mask.
    """
    folder = artifacts / "sets" / "discs"
    said = []
    for number, numbers in enumerate(np.array_split(np.arange(count), 2)):
        with open_shard(folder, "train", number, TRIPLETS) as shard:
            for row in numbers.tolist():
                shard.add(
                    _describe(row, relations)
                    | {end: shard.store_picture(f"{end}{row}", _png(row, end)) for end in ("reference", "target")}
                )
                said.append(_say(row, count, f"train-{number:05d}.parquet", relations))
    finish_set(folder, TRIPLETS, licence=licence, source="drawn for tests", notes={"unsafe": 3})
    with replace_folder(artifacts / "validation" / "discs", "validation") as validated:
        write_table(validated / "rows.parquet", pd.DataFrame(said))
    return folder


def _describe(row: int, relations: tuple[str, ...]) -> dict[str, Any]:
    return {
        "key": f"train-{row:03d}",
        "reference_caption": f"disc {row}",
        "target_caption": "a </script> disc",
        "relative_captions": [f"to | {row}"],
        "relation": relations[row % len(relations)],
        "keyword": None,
        "mask": MASK if row % 6 == 1 else None,
        "negatives": [],
    }


def _say(row: int, count: int, shard: str, relations: tuple[str, ...]) -> dict[str, Any]:
    scores = dict.fromkeys(SimilarityFloors.model_fields, np.float32(0.5))
    scores["directional"] = np.float32((row * 7 % count) / count)
    is_kept = row % 5 != 0
    return {
        **{"key": f"train-{row:03d}", "shard": shard, "split": "train", **scores},
        **{"relation": relations[row % len(relations)], "accepted": is_kept},
        "rejected_by": "" if is_kept else "directional",
    }


def _png(row: int, end: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (48, 48), ((row + 100 * (end == "target")) * 3 % 256, 90, 160)).save(stream, "PNG")
    return stream.getvalue()
