"""The arrays that a training reads, of any size and width, of noise: every triplet has a picture of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from compodiff.embeddings.set_arrays import iterate_chunks
from compodiff.embeddings.token_arrays import TokenArrays
from compodiff.encoders.manifest import EncoderManifest, PicturePart, TextPart
from compodiff.images.mask_cells import MASK_SIZE
from compodiff.params import TaskShares
from compodiff.storage.atomic import write_json
from compodiff.training.curve import CurveQueries
from compodiff.training.fit import TrainingMaterial
from compodiff.training.mixture import CURVE, FILE, describe_mixture, load_mixture

WIDE = "wide"
_TEXTS, _MASKS, _RELATIONS = 20_000, 1000, 20
_AT_ONCE = 2**16
_NOISE: dict[str, Any] = {"library": "none", "name": "noise", "weights_digest": "0" * 16, "activation": "gelu"}


@dataclass(frozen=True)
class Widths:
    """Of pictures' embeddings, of text tokens, and the tokens of a text: from `shortest` to `longest`."""

    embedding_dim: int
    token_dim: int
    shortest: int
    longest: int

    def describe_encoder(self) -> EncoderManifest:
        """Return the manifest of an encoder of these widths."""
        half = (0.5, 0.5, 0.5)
        picture = PicturePart(
            **_NOISE,
            image_size=64,
            mean=half,
            std=half,
            interpolation="bicubic",
            resize_mode="squash",
            embedding_dim=self.embedding_dim,
        )
        text = TextPart(**_NOISE, token_dim=self.token_dim, context_length=self.longest)
        return EncoderManifest(picture, (text,), joint=0)


SMALL = Widths(512, 256, 8, 8)
PAPER = Widths(768, 768, 6, 24)  # ViT-L/14's; captions as long as those of a training


def write_wide_arrays(home: Path, rows: int, widths: Widths = SMALL) -> None:
    """Write the embeddings and examples of a set of triplets, each with a picture of its own, and its mixture."""
    rng = np.random.default_rng(17)
    embeddings, examples = home / "embeddings" / WIDE, home / "validation" / WIDE / "train"
    for folder in (embeddings, examples, home / "mixture"):
        folder.mkdir(parents=True)
    texts = min(rows, _TEXTS)
    offsets = np.concatenate([[0], rng.integers(widths.shortest, widths.longest + 1, texts).cumsum()])
    _save_noise(embeddings / "images.npy", (rows + 1, widths.embedding_dim), rng)
    _save_noise(embeddings / "text_tokens.npy", (int(offsets[-1]), widths.token_dim), rng)
    np.save(embeddings / "text_offsets.npy", offsets)
    np.save(embeddings / "masks.npy", rng.integers(0, 256, (_MASKS, MASK_SIZE * MASK_SIZE // 8), np.uint8))
    write_json(embeddings / "manifest.json", {"encoder": widths.describe_encoder().to_json(), "set": WIDE})
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
    text = (TokenArrays(np.zeros((1, widths.token_dim), np.float16), one),)
    picture = np.zeros((1, widths.embedding_dim), np.float32)
    CurveQueries(text, text, picture, picture, none, one).save(home / "mixture" / CURVE)


def open_material(home: Path) -> TrainingMaterial:
    """Open what a training reads of the arrays in `home`."""
    mixture = load_mixture(home / "mixture", home / "embeddings", home / "validation")
    return TrainingMaterial(mixture, CurveQueries.load(home / "mixture" / CURVE))


def _save_noise(path: Path, shape: tuple[int, int], rng: Generator) -> None:
    """Write noise: a block of it again and again, each time with other neighbours."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    noise = rng.standard_normal((min(shape[0], _AT_ONCE), shape[1]), np.float32).astype(np.float16)
    for number, part in enumerate(iterate_chunks(shape[0], _AT_ONCE)):
        array[part] = np.roll(noise, number, axis=1)[: part.stop - part.start]
    array.flush()
