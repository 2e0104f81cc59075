"""Sets and arrays of any size for `compodiff bench data`, of noise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image

from compodiff.embeddings.set_arrays import iterate_chunks
from compodiff.embeddings.token_arrays import TokenArrays
from compodiff.encoders import EncoderManifest, PicturePart, TextPart, load_embedded_encoder, save_encoder
from compodiff.images.mask_cells import MASK_SIZE
from compodiff.params import TaskShares
from compodiff.recipes.made import encode_png
from compodiff.sets import SPLITS, TRIPLETS, finish_set, open_shard
from compodiff.storage.atomic import write_json
from compodiff.training.curve import CurveQueries
from compodiff.training.mixture import CURVE, FILE, describe_mixture

SET, WIDE, ASKING = "repeated", "wide", "asking"
MANIFEST_FILE, PICTURES = "rows.jsonl", "pictures"
ROWS_PER_SHARD = 1024
PICTURES_OF_A_SHARD = 256  # where each row has its own
_PICTURES, _EDGE = 16, 64  # of a shard where they repeat, and pixels
_ROWS_PER_MASK = 32
_TEXTS, _TOKENS, _MASKS, _RELATIONS = 20_000, 8, 1000, 20
_EMBEDDING_DIM, _TOKEN_DIM = 512, 256
_AT_ONCE = 2**16
_NOISE: dict[str, Any] = {"library": "none", "name": "noise", "weights_digest": "0" * 16, "activation": "gelu"}
MANIFEST = EncoderManifest(
    PicturePart(
        **_NOISE,
        image_size=_EDGE,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        resize_mode="squash",
        embedding_dim=_EMBEDDING_DIM,
    ),
    (TextPart(**_NOISE, token_dim=_TOKEN_DIM, context_length=_TOKENS),),
    joint=0,
)


def write_encoder(folder: Path) -> None:
    """Write an encoder of the default's kind, for pictures of few pixels."""
    generator = torch.Generator().manual_seed(17)
    save_encoder(load_embedded_encoder(embedding_dim=_EMBEDDING_DIM, image_size=_EDGE, generator=generator), folder)


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


def write_wide_arrays(home: Path, rows: int) -> None:
    """Write the embeddings and examples of a set of triplets, each with a picture of its own, and its mixture."""
    rng = np.random.default_rng(17)
    embeddings, examples = home / "embeddings" / WIDE, home / "validation" / WIDE / "train"
    for folder in (embeddings, examples, home / "mixture"):
        folder.mkdir(parents=True)
    texts = min(rows, _TEXTS)
    _save_noise(embeddings / "images.npy", (rows + 1, _EMBEDDING_DIM), rng)
    _save_noise(embeddings / "text_tokens.npy", (texts * _TOKENS, _TOKEN_DIM), rng)
    np.save(embeddings / "text_offsets.npy", np.arange(texts + 1) * _TOKENS)
    np.save(embeddings / "masks.npy", rng.integers(0, 256, (_MASKS, MASK_SIZE * MASK_SIZE // 8), np.uint8))
    write_json(embeddings / "manifest.json", {"encoder": MANIFEST.to_json(), "set": WIDE})
    write_json(examples.parent / "result.json", {"rows": rows})
    for task, mask in (("text_to_image", -1), ("masked", _MASKS), ("triplet", -1)):
        path = examples / f"{task}.npy"
        table = np.lib.format.open_memmap(path, mode="w+", dtype=np.int64, shape=(rows, 4))
        table[:, 0] = rng.integers(texts, size=rows)
        table[:, 1] = -1 if task == "text_to_image" else rng.integers(rows, size=rows)
        table[:, 2] = -1 if mask < 0 else rng.integers(mask, size=rows)
        table[:, 3] = np.arange(1, rows + 1)
        table.flush()
    np.save(examples / "relation_starts.npy", np.linspace(0, rows, _RELATIONS + 1).astype(np.int64))
    np.save(examples / "negatives.npy", np.empty((rows, 0), np.int64))
    tasks = TaskShares(text_to_image={WIDE: 0.3}, masked={WIDE: 0.3}, triplet={WIDE: 0.4})
    write_json(home / "mixture" / FILE, describe_mixture(tasks, home / "embeddings", home / "validation"))
    none = np.empty((0, 2), np.int64)
    one = np.ones(1, np.int64)
    text = (TokenArrays(np.zeros((1, _TOKEN_DIM), np.float16), one),)
    picture = np.zeros((1, _EMBEDDING_DIM), np.float32)
    CurveQueries(text, text, picture, picture, none, one).save(home / "mixture" / CURVE)


def _save_noise(path: Path, shape: tuple[int, int], rng: Generator) -> None:
    """Write noise: a block of it again and again, each time with other neighbours."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    noise = rng.standard_normal((min(shape[0], _AT_ONCE), shape[1]), np.float32).astype(np.float16)
    for number, part in enumerate(iterate_chunks(shape[0], _AT_ONCE)):
        array[part] = np.roll(noise, number, axis=1)[: part.stop - part.start]
    array.flush()
