"""A small world in which composition can be learned: a picture's embedding is its shape's vector plus its colour's.

Colours weigh twice, so that the nearest pictures are those of the same colour and not the answer. "make it COLOUR"
moves a reference to the picture of the same shape in that colour; the shapes of validation queries never train.
As a program, in tests/, it trains here: `torchrun --module worlds.training FOLDER OUT '{"steps": 8}' [DIE-AT]`.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from factories import make_denoiser_config, make_encoder_manifest, make_training_params

from compodiff.embeddings import SetEmbeddings
from compodiff.model.checkpoint import ModelCard
from compodiff.model.sampling.process import Process
from compodiff.training.curve import take_queries_of_set
from compodiff.training.examples import Mixture, SetExamples, write_examples
from compodiff.training.fit import TrainingMaterial, fit, make_denoiser

COLOURS = ("red", "green", "blue", "white", "black")
TRAIN_SHAPES = tuple(f"shape{number}" for number in range(40))
UNSEEN_SHAPES = tuple(f"shape{number}" for number in range(40, 60))
EMBEDDING_DIM, TOKEN_DIM = 32, 12
SET = "world"
PICTURES = [f"{shape}-{colour}" for shape in (*TRAIN_SHAPES, *UNSEEN_SHAPES) for colour in COLOURS]
TEXTS = ["", *(name.replace("-", " ") for name in PICTURES), *(f"make it {colour}" for colour in COLOURS)]

PARAMS = make_training_params()
NETWORK = make_denoiser_config(
    embedding_dim=EMBEDDING_DIM,
    token_dims=(TOKEN_DIM,),
    width=32,
    head_width=16,
    mask_size=4,
    image_slots=1,
    residual=True,
)
MANIFEST = make_encoder_manifest(embedding_dim=EMBEDDING_DIM, token_dim=TOKEN_DIM)


def picture(shape: str, colour: str) -> str:
    return f"{shape}-{colour}"


def write_embeddings(folder: Path) -> None:
    """Write a set of this world, embedded and validated: the arrays of artifacts/embeddings/NAME, and its examples."""
    rng = np.random.default_rng(5)
    words = {word: rng.standard_normal(TOKEN_DIM) for word in (*TRAIN_SHAPES, *UNSEEN_SHAPES, *COLOURS, "make", "it")}
    look = rng.standard_normal((TOKEN_DIM, EMBEDDING_DIM)) / TOKEN_DIM**0.5
    pairs = [(shape, colour) for shape in (*TRAIN_SHAPES, *UNSEEN_SHAPES) for colour in COLOURS]
    pictures = np.stack([(words[shape] + 2 * words[colour]) @ look for shape, colour in pairs])
    tokens = [np.stack([words[word] for word in text.split()] or [np.zeros(TOKEN_DIM)]) for text in TEXTS]
    trained = len(TRAIN_SHAPES) * len(COLOURS)  # the first pictures, which have masked variants after the last one
    folder.mkdir(parents=True)
    arrays = {
        "images": np.concatenate([pictures, 0.5 * pictures[:trained]]).astype(np.float16),
        "masks": rng.integers(256, size=(trained, 512), dtype=np.uint8),
        "digests": np.arange(len(pictures) + trained, dtype=np.uint64)[:, None].view(np.uint8).repeat(2, axis=1),
        "text_tokens": np.concatenate(tokens).astype(np.float16),
        "text_offsets": np.cumsum([0, *map(len, tokens)]),
        "text_keys": np.arange(len(TEXTS), dtype=np.uint64),
        **list_examples(len(pictures)),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    manifest = {"encoder": MANIFEST.to_json(), "set": "small world"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    relations = np.array(
        [int(relation == "dark") for relation in (*captions()["picture_id"], *all_triplets()["relation"])]
    )
    accepted = np.ones(len(relations), np.bool_)
    write_examples(folder / "examples", SetEmbeddings.load(folder), accepted, relations.astype(np.int32))


def list_examples(pictures: int) -> dict[str, Any]:
    """Return the tables of rows: one of each caption, then one of each triplet, those of unseen shapes at last."""
    texts = {text: row for row, text in enumerate(TEXTS)}
    captioned = [(row, texts[caption], -1, -1, PICTURES.index(name)) for row, name, caption in captions().itertuples()]
    masked = [(row, text, pictures + row, row, target) for row, text, _, _, target in captioned]
    wanted = [
        (len(captioned) + row, texts[it.relative_caption], PICTURES.index(it.reference), -1, PICTURES.index(it.target))
        for row, it in enumerate(all_triplets().itertuples())
    ]
    seen = len(captioned) + len(triplets())
    return {
        "text_to_image": np.array(captioned),
        "masked": np.array(masked),
        "triplet": np.array(wanted),
        "negatives": np.empty((0, 2), np.int64),
        "splits": (np.arange(len(captioned) + len(wanted)) >= seen).astype(np.uint8),
    }


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


def all_triplets() -> pd.DataFrame:
    return pd.concat([triplets(), triplets(UNSEEN_SHAPES)], ignore_index=True)


def material(folder: Path) -> TrainingMaterial:
    embeddings = SetEmbeddings.load(folder)
    mixture = Mixture((SetExamples(SET, embeddings, folder / "examples" / "train"),), PARAMS.tasks.by_task, "digest")
    queries = take_queries_of_set(embeddings, folder / "examples", PARAMS.curve.queries, seed=3)
    return TrainingMaterial(mixture, queries)


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


def die_once(step: int, folder: Path) -> Callable[[int, Mapping[str, float]], None]:
    """Return what kills this process the first time that the curve reaches `step`."""

    def die(at: int, _: Mapping[str, float]) -> None:
        if at == step and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def in_process(context: ForkServerContext, target: Callable[..., Any], *arguments: Any) -> int | None:
    """Run `target` in a process of its own; return its exit code, or minus the signal that killed it."""
    process = context.Process(target=target, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def losses(curve: pd.DataFrame) -> list[tuple[float, ...]]:
    return list(curve[["step", "loss", "cosine", "recall_at_10", "learning_rate"]].itertuples(index=False, name=None))


def train_until(step: int, world: Path, out: str, changes: dict[str, Any] | None = None) -> None:
    """Train, and die by SIGKILL once the curve has reached `step`."""
    train_in(world, out, changes, on_metrics=lambda at, _: os.kill(os.getpid(), signal.SIGKILL) if at == step else None)


if __name__ == "__main__":
    home, name, given, *at = sys.argv[1:]
    train_in(Path(home), name, json.loads(given), die_once(int(at[0]) if at else -1, Path(home)))
