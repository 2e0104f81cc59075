"""A small `triplets` benchmark with real pictures, a real tiny CLIP, its embeddings, an index and two models."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from factories import (
    encode_picture,
    make_denoiser_config,
    make_embedding_params,
    make_index_params,
    make_random_denoiser,
    make_sampling_params,
    write_tar,
)
from PIL import Image, ImageDraw

from compodiff.benchmarks.datasets.assembled import Assembled, open_assembled
from compodiff.benchmarks.datasets.embedding import embed_parts, find_present
from compodiff.embeddings import MASK_SIZE, Embeddings
from compodiff.encoders import Encoder, EncoderManifest, save_encoder
from compodiff.index import index
from compodiff.model import dials
from compodiff.model.checkpoint import ModelCard, save_model
from compodiff.model.sampling.process import Process
from compodiff.params import EvaluationParams
from compodiff.storage.atomic import write_json

COLOURS = ("red", "green", "blue", "gold", "black", "gray")
SHAPES = ("disc", "box", "bar", "ring")
EVALUATION = EvaluationParams(
    seed=3,
    bootstrap_draws=50,
    chunk=7,
    text_weights=[0.2, 0.5, 0.8],
    product_offsets=[0.0, 1.0],
    edited_queries=6,
    min_relation_queries=5,
    shown_queries=2,
    shown_pictures=3,
)
SAMPLING = make_sampling_params(num_inference_steps=1, solver="mean")
LEFT_HALF = np.zeros((MASK_SIZE, MASK_SIZE), np.bool_)
LEFT_HALF[:, : MASK_SIZE // 2] = True
EMBEDDING = make_embedding_params()


@dataclass(frozen=True)
class World:
    """The inputs of the stage evaluate: of the benchmark emoji, and of scenes with their embeddings."""

    benchmark: Path
    scenes: Path
    embeddings: Path
    scenes_embeddings: Path
    encoder: Path
    index: Path
    prior: Path
    composed: Path


def drawn(shape: str, colour: str) -> Image.Image:
    image = Image.new("RGBA", (48, 48))
    draw = ImageDraw.Draw(image)
    boxes = {"disc": (6, 6, 42, 42), "box": (6, 6, 42, 42), "bar": (4, 18, 44, 30), "ring": (6, 6, 42, 42)}
    if shape in ("disc", "ring"):
        draw.ellipse(boxes[shape], fill=colour if shape == "disc" else None, outline=colour, width=6)
    else:
        draw.rectangle(boxes[shape], fill=colour)
    return image


def write_benchmark(folder: Path) -> None:
    """Gallery as a tar, queries of two relations in two splits."""
    gallery = folder / "gallery"
    gallery.mkdir(parents=True)
    drawings = {f"{shape}-{colour}.png": drawn(shape, colour) for shape in SHAPES for colour in COLOURS}
    write_tar(gallery / "drawn.tar", {name: encode_picture(picture) for name, picture in drawings.items()})
    for split, shapes in (("validation", SHAPES[:2]), ("test", SHAPES[2:])):
        recolour = [
            {"reference": f"{s}-{a}", "relative_caption": f"make it {b}", "targets": [f"{s}-{b}"], "group": "colour"}
            for s in shapes
            for a in COLOURS
            for b in COLOURS
            if a != b
        ]
        reshape = [
            {"reference": f"{s}-{c}", "relative_caption": "another shape", "group": "shape"}
            | {"targets": [f"{other}-{c}" for other in SHAPES if other != s]}
            for s in shapes
            for c in COLOURS[:2]
        ]
        lines = [json.dumps(query | {"concept": query["reference"].split("-")[0]}) for query in recolour + reshape]
        (folder / f"queries.{split}.jsonl").write_text("\n".join(lines) + "\n")


def write_scenes(folder: Path) -> None:
    """The same with three more test queries: the edited region of one is known, one has a negative text, one a mask."""
    write_benchmark(folder)
    Image.fromarray(LEFT_HALF).save(folder / "mask.png")
    asked = {"relative_caption": "make it blue"}
    ring, bar = (
        asked | {"reference": f"{shape}-red", "targets": [f"{shape}-blue"], "concept": shape}
        for shape in ("ring", "bar")
    )
    harder = [
        ring | {"group": "colour", "edited": "mask.png"},
        bar | {"group": "negative", "negative": "red"},
        bar | {"group": "masked", "mask": "mask.png"},
    ]
    with (folder / "queries.test.jsonl").open("a") as file:
        file.writelines(f"{json.dumps(query)}\n" for query in harder)


def untrained_card(manifest: EncoderManifest) -> ModelCard:
    """A residual network: before training its answer is the reference itself."""
    config = make_denoiser_config(
        embedding_dim=manifest.embedding_dim,
        token_dims=manifest.token_dims,
        depth=1,
        mask_size=4,
        image_slots=1,
        residual=True,
    )
    return ModelCard(config, Process("diffusion", 1000), manifest.to_json())


def make_world(root: Path, encoder: Encoder) -> World:
    """Benchmarks as the pipeline assembles and embeds them, an index of the first one's gallery, and two models."""
    names = ("benchmark", "scenes", "embeddings", "scenes_embeddings", "encoder", "index", "prior", "composed")
    world = World(*(root / name for name in names))
    manifest = save_encoder(encoder, world.encoder)
    write_benchmark(world.benchmark)
    write_scenes(world.scenes)
    for name, folder, embeddings in (
        ("emoji", world.benchmark, world.embeddings),
        ("scenes", world.scenes, world.scenes_embeddings),
    ):
        Assembled(name, "triplets", ".", "test", "validation").write(folder)
        _embed(folder, embeddings, encoder)
    embedded = Embeddings.load(world.embeddings)
    ids = list(embedded.picture_row)
    index.build(
        world.index,
        embeddings=embedded.pictures,
        pictures=pd.DataFrame({"picture_id": ids, "name": ids, "path": "x", "offset": 0, "length": 0, "sha256": ids}),
        encoder=manifest,
        params=make_index_params(),
        pictures_root="..",
    )
    card = untrained_card(manifest)
    for folder in (world.prior, world.composed):
        save_model(folder, make_random_denoiser(card.denoiser).state_dict(), card)
    write_json(root / dials.FILE, SAMPLING.model_dump())
    return world


def _embed(folder: Path, embeddings: Path, encoder: Encoder) -> None:
    assembled = open_assembled(folder)
    parts = [part for split in ("test", "validation") for part in assembled.load(split)]
    embed_parts(embeddings, find_present(parts, skip_missing=False), encoder, EMBEDDING)


def make_models(root: Path, encoder: Encoder) -> None:
    """What --model takes: composed/ (untrained), encoder/ and sampling.json; beside them the folder benchmark/."""
    make_world(root, encoder)
