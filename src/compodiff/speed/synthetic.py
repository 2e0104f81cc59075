"""Sets of any size for `compodiff bench data`, of noise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image

from compodiff.embeddings.set_arrays import iterate_chunks
from compodiff.encoders import load_embedded_encoder, save_encoder
from compodiff.images.mask_cells import MASK_SIZE
from compodiff.recipes.made import encode_png
from compodiff.sets import SPLITS, TRIPLETS, finish_set, open_shard
from compodiff.speed.wide_arrays import SMALL

SET, ASKING = "repeated", "asking"
MANIFEST_FILE, PICTURES = "rows.jsonl", "pictures"
ROWS_PER_SHARD = 1024
PICTURES_OF_A_SHARD = 256  # where each row has its own
_PICTURES, _EDGE = 16, 64  # of a shard where they repeat, and pixels
_ROWS_PER_MASK = 32
_RELATIONS = 20


def write_encoder(folder: Path) -> None:
    """Write an encoder of the default's kind, for pictures of few pixels."""
    generator = torch.Generator().manual_seed(17)
    width = SMALL.embedding_dim
    save_encoder(load_embedded_encoder(embedding_dim=width, image_size=_EDGE, generator=generator), folder)


def write_set(
    folder: Path,
    rows: int,
    *,
    rows_per_shard: int = ROWS_PER_SHARD,
    pictures: int = _PICTURES,
    rows_per_text: int | None = None,
) -> None:
    """Write triplets, some with a mask; a tenth of the rows is for validation.

    Args:
        folder: of the set.
        rows: in all.
        rows_per_shard: of each shard.
        pictures: of each shard.
        rows_per_text: that ask for the same; None: the few texts of a shard are those of all shards.
    """
    rng = np.random.default_rng(17)
    counts = {"validation": max(1, rows // 10)}
    counts["train"] = rows - counts["validation"]
    for split in SPLITS:
        for number, part in enumerate(iterate_chunks(counts[split], rows_per_shard)):
            with open_shard(folder, split, number, TRIPLETS) as shard:
                names = [f"{split}-{number}-{picture}" for picture in range(pictures)]
                places = [shard.store_picture(name, _draw_picture(rng)) for name in names]
                for row in range(part.stop - part.start):
                    first, second = _choose_ends(row, pictures)
                    ends = {"reference": places[first], "target": places[second]}
                    said = _describe_row(f"{split}-{part.start + row}", row)
                    if rows_per_text:
                        said["relative_captions"] = [f"{split}, change {(part.start + row) // rows_per_text}"]
                    shard.add(said | ends)
    finish_set(folder, TRIPLETS, licence="none", source="noise")


def write_manifest(folder: Path, rows: int) -> None:
    """Write triplets as somebody else has them: a .jsonl file, and a folder with a few pictures."""
    rng = np.random.default_rng(17)
    (folder / PICTURES).mkdir(parents=True)
    names = [f"{number:02d}.png" for number in range(_PICTURES)]
    for name in names:
        (folder / PICTURES / name).write_bytes(_draw_picture(rng))
    with (folder / MANIFEST_FILE).open("w", encoding="utf-8") as file:
        for row in range(rows):
            first, second = _choose_ends(row, _PICTURES)
            line = {"key": f"{row}", "reference_image": names[first], "target_image": names[second]}
            file.write(json.dumps(line | {"relative_caption": f"change number {row}"}) + "\n")


def _choose_ends(row: int, pictures: int) -> tuple[int, int]:
    first = row % pictures
    return first, (first + 1 + row // pictures % (pictures - 1)) % pictures


def _describe_row(key: str, row: int) -> dict[str, Any]:
    return {
        "key": key,
        "reference_caption": f"picture {row % _PICTURES}",
        "target_caption": f"picture {row // _PICTURES % _PICTURES}",
        "relative_captions": [f"change number {row // (_PICTURES * (_PICTURES - 1))}"],
        "relation": f"relation {row % _RELATIONS}",
        "keyword": None,
        "mask": bytes([255] * (MASK_SIZE * MASK_SIZE // 8)) if row % _ROWS_PER_MASK == 0 else None,
        "negatives": [],
    }


def _draw_picture(rng: Generator) -> bytes:
    blobs = rng.integers(0, 256, (8, 8, 3), np.uint8)
    return encode_png(Image.fromarray(blobs).resize((_EDGE, _EDGE), Image.Resampling.BICUBIC))
