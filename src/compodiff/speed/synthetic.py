"""Sets and arrays of any size for `compodiff bench data`, of noise."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image

from compodiff.embeddings.set_arrays import iterate_chunks
from compodiff.encoders import EncoderManifest, load_embedded_encoder, save_encoder
from compodiff.images.mask_cells import MASK_SIZE
from compodiff.params import TaskShares
from compodiff.recipes.made import encode_png
from compodiff.sets import SPLITS, TRIPLETS, finish_set, open_shard
from compodiff.storage.atomic import write_json
from compodiff.training.curve import CurveQueries
from compodiff.training.mixture import CURVE, FILE, describe_mixture

SET, WIDE, ASKING = "repeated", "wide", "asking"
ROWS_PER_SHARD = 1024
_PICTURES, _EDGE = 16, 64  # of a shard, and pixels
_TEXTS, _TOKENS, _MASKS, _RELATIONS = 20_000, 8, 1000, 20
_EMBEDDING_DIM, _TOKEN_DIM = 512, 256
_AT_ONCE = 2**16
MANIFEST = EncoderManifest(
    name="noise",
    weights_digest="0" * 16,
    activation="gelu",
    image_size=_EDGE,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    interpolation="bicubic",
    resize_mode="squash",
    embedding_dim=_EMBEDDING_DIM,
    token_dim=_TOKEN_DIM,
    context_length=_TOKENS,
)


def write_encoder(folder: Path) -> None:
    """Write an encoder of the default's kind, for pictures of few pixels."""
    generator = torch.Generator().manual_seed(17)
    save_encoder(load_embedded_encoder(embedding_dim=_EMBEDDING_DIM, image_size=_EDGE, generator=generator), folder)


def write_set(folder: Path, rows: int, rows_per_text: int | None = None) -> None:
    """Write triplets: a shard has sixteen pictures, every fourth row a mask; a tenth of the rows is for validation.

    Args:
        folder: of the set.
        rows: of both splits.
        rows_per_text: that ask for the same; None: the few texts of a shard are those of all shards.
    """
    rng = np.random.default_rng(17)
    counts = {"validation": max(1, rows // 10)}
    counts["train"] = rows - counts["validation"]
    for split in SPLITS:
        for number, part in enumerate(iterate_chunks(counts[split], ROWS_PER_SHARD)):
            with open_shard(folder, split, number, TRIPLETS) as shard:
                names = [f"{split}-{number}-{picture}" for picture in range(_PICTURES)]
                places = [shard.store_picture(name, _draw_picture(rng)) for name in names]
                for row in range(part.stop - part.start):
                    first = row % _PICTURES
                    ends = places[first], places[(first + 1 + row // _PICTURES % (_PICTURES - 1)) % _PICTURES]
                    said = _describe_row(f"{split}-{part.start + row}", row)
                    if rows_per_text:
                        said["relative_captions"] = [f"{split}, change {(part.start + row) // rows_per_text}"]
                    shard.add(said | dict(zip(_ENDS, ends, strict=True)))
    finish_set(folder, TRIPLETS, licence="none", source="noise")


_ENDS = ("reference", "target")


def _describe_row(key: str, row: int) -> dict[str, Any]:
    text = row // (_PICTURES * (_PICTURES - 1))
    return {
        "key": key,
        "reference_caption": f"picture {row % _PICTURES}",
        "target_caption": f"picture {row // _PICTURES % _PICTURES}",
        "relative_captions": [f"change number {text}"],
        "relation": f"relation {row % _RELATIONS}",
        "keyword": None,
        "mask": bytes([255] * (MASK_SIZE * MASK_SIZE // 8)) if row % 4 == 0 else None,
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
    tokens, one = np.zeros((1, _TOKEN_DIM), np.float16), np.ones(1, np.int64)
    picture = np.zeros((1, _EMBEDDING_DIM), np.float32)
    CurveQueries(tokens, one, tokens, picture, picture, none, one).save(home / "mixture" / CURVE)


def _save_noise(path: Path, shape: tuple[int, int], rng: Generator) -> None:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    for part in iterate_chunks(shape[0], _AT_ONCE):
        array[part] = rng.standard_normal((part.stop - part.start, shape[1]), np.float32)
    array.flush()
