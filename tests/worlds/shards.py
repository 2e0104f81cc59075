"""Shards of made vectors with tables of their rows, as an index at size is built from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from factories import make_encoder_manifest

from compodiff.encoders import EncoderManifest

WIDTH = 64


def make_wide_manifest(width: int = WIDTH) -> EncoderManifest:
    encoder = make_encoder_manifest()
    return replace(encoder, picture=replace(encoder.picture, embedding_dim=width))


def write_vectors(folder: Path, number: int, count: int = 300, width: int = WIDTH) -> np.ndarray:
    """Write a shard of vectors around a few centres; returns them as they lie in the file."""
    generator = np.random.default_rng([5, number])
    centres = np.random.default_rng(5).standard_normal((12, width))
    vectors = centres[generator.integers(12, size=count)] + 0.5 * generator.standard_normal((count, width))
    stored = (3 * vectors).astype(np.float16)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"part-{number}.npy", stored)
    rows = np.arange(count)
    names = [f"{number}/{row:04d}.jpg" for row in rows]
    table = pd.DataFrame({"image_path": names, "size": rows, "caption": [f"picture {row}" for row in rows]})
    table.to_parquet(folder / f"part-{number}.parquet", index=False)
    return stored.astype(np.float32)
