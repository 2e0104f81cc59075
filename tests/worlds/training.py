"""A small world in which composition can be learned: a picture's embedding is its shape's vector plus its colour's.

Colours weigh twice, so that the nearest pictures are those of the same colour and not the answer. "make it COLOUR"
moves a reference to the picture of the same shape in that colour; the shapes of validation queries never train.
As a program, in tests/, it trains in this world: `torchrun --module worlds.training FOLDER OUT '{"steps": 8}'`.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from factories import make_denoiser_config, make_encoder_manifest, make_training_params

from compodiff.embeddings import Embeddings
from compodiff.model.checkpoint import ModelCard
from compodiff.model.sampling.process import Process
from compodiff.training.curve import ValidationQuery
from compodiff.training.examples import make_training_examples
from compodiff.training.fit import TrainingMaterial, fit, make_denoiser

COLOURS = ("red", "green", "blue", "white", "black")
TRAIN_SHAPES = tuple(f"shape{number}" for number in range(40))
UNSEEN_SHAPES = tuple(f"shape{number}" for number in range(40, 60))
EMBEDDING_DIM, TOKEN_DIM = 32, 12

PARAMS = make_training_params()
NETWORK = make_denoiser_config(
    embedding_dim=EMBEDDING_DIM, token_dim=TOKEN_DIM, width=32, head_width=16, mask_size=4, image_slots=1, residual=True
)
MANIFEST = make_encoder_manifest(embedding_dim=EMBEDDING_DIM, token_dim=TOKEN_DIM)


def picture(shape: str, colour: str) -> str:
    return f"{shape}-{colour}"


def write_embeddings(folder: Path) -> None:
    """Write the world's embeddings in the format of artifacts/embeddings."""
    rng = np.random.default_rng(5)
    words = {word: rng.standard_normal(TOKEN_DIM) for word in (*TRAIN_SHAPES, *UNSEEN_SHAPES, *COLOURS, "make", "it")}
    look = rng.standard_normal((TOKEN_DIM, EMBEDDING_DIM)) / TOKEN_DIM**0.5
    pairs = [(shape, colour) for shape in (*TRAIN_SHAPES, *UNSEEN_SHAPES) for colour in COLOURS]
    pictures = np.stack([(words[shape] + 2 * words[colour]) @ look for shape, colour in pairs])
    texts = ["", *(f"{shape} {colour}" for shape, colour in pairs), *(f"make it {colour}" for colour in COLOURS)]
    tokens = [np.stack([words[word] for word in text.split()] or [np.zeros(TOKEN_DIM)]) for text in texts]
    trained = [row for row, (shape, _) in enumerate(pairs) if shape in TRAIN_SHAPES]
    folder.mkdir(parents=True)
    arrays = {
        "pictures": pictures.astype(np.float32),
        "texts_pooled": np.zeros((len(texts), EMBEDDING_DIM), np.float32),
        "text_tokens": np.concatenate(tokens).astype(np.float16),
        "text_offsets": np.cumsum([0, *map(len, tokens)]),
        "masked": (0.5 * pictures[trained]).astype(np.float32),
        "masks": rng.integers(256, size=(len(trained), 512), dtype=np.uint8),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    names = [picture(*pair) for pair in pairs]
    pd.DataFrame({"picture_id": names}).to_parquet(folder / "pictures.parquet")
    pd.DataFrame({"text": texts}).to_parquet(folder / "texts.parquet")
    masked = pd.DataFrame({"picture_id": [names[row] for row in trained], "split": "train", "target": ""})
    masked.to_parquet(folder / "masked_pictures.parquet")
    (folder / "manifest.json").write_text(json.dumps(MANIFEST.to_json()))


def captions() -> pd.DataFrame:
    rows = [(picture(shape, colour), f"{shape} {colour}") for shape in TRAIN_SHAPES for colour in COLOURS]
    return pd.DataFrame(rows, columns=["picture_id", "caption"])


def triplets(shapes: tuple[str, ...] = TRAIN_SHAPES) -> pd.DataFrame:
    rows = [
        (picture(shape, one), picture(shape, other), f"make it {other}", "dark" if other == "black" else "bright")
        for shape in shapes
        for one in COLOURS
        for other in COLOURS
        if one != other
    ]
    return pd.DataFrame(rows, columns=["reference", "target", "relative_caption", "relation"])


def material(folder: Path) -> TrainingMaterial:
    embeddings = Embeddings.load(folder)
    queries = [
        ValidationQuery(row.relative_caption, (row.target,), row.reference)
        for row in triplets(UNSEEN_SHAPES).itertuples()
    ]
    return TrainingMaterial(
        embeddings=embeddings,
        examples=make_training_examples(embeddings, captions(), triplets()),
        queries=queries[:: len(queries) // PARAMS.validation_queries],
        gallery=list(embeddings.picture_row),
    )


def train_in(
    folder: Path,
    out: str,
    changes: dict[str, Any] | None = None,
    on_metrics: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None,
) -> pd.DataFrame:
    """Train in the world at `folder`/embeddings and return the curve; the model is `folder`/`out`."""
    torch.set_num_threads(1)
    params = PARAMS.model_copy(update=changes or {})
    world = material(folder / "embeddings")
    card = ModelCard(NETWORK, Process(params.objective, 1000), MANIFEST.to_json())
    denoiser = make_denoiser(NETWORK, world, standardise=True, seed=params.seed)
    curve = folder / f"{out}.csv"
    fit(denoiser, card, world, params, folder=folder / out, curve=curve, on_metrics=on_metrics)
    return pd.read_csv(curve)


if __name__ == "__main__":
    train_in(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
