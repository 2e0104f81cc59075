"""A project whose parts are real and small: pictures, encoder, index, and a composed model with random weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factories import make_denoiser_config, make_embedded_encoder, make_random_denoiser

from compodiff.catalogue.emoji_benchmark import write_benchmark
from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import EmbeddingMaterial, make_embeddings
from compodiff.encoders import load_encoder, save_encoder
from compodiff.model.checkpoint import ModelCard, save_model
from compodiff.model.sampling.process import Process
from compodiff.params import load_params
from compodiff.serving.champion import ServedPaths
from compodiff.stages.build_index import build_index

PARAMS = Path(__file__).parents[2] / "params.yaml"


def make_project(root: Path, data: Path, catalogue: Catalogue) -> Path:
    """Put params.yaml and artifacts/ (benchmark, encoder at 64 px, embeddings, index, composed) at `root`."""
    shutil.copy(PARAMS, root)
    params = load_params(PARAMS)
    artifacts = root / "artifacts"
    encoder = make_embedded_encoder(seed=1, embedding_dim=32)
    manifest = save_encoder(encoder, artifacts / "encoder")
    write_benchmark(artifacts / "benchmark", catalogue, params.benchmark)
    material = EmbeddingMaterial(catalogue.list_distinct(), catalogue.read, "small", {}, [])
    make_embeddings(artifacts / "embeddings", load_encoder(artifacts / "encoder"), material, params.embedding)
    build_index(
        index=params.index,
        data=data,
        benchmark=artifacts / "benchmark",
        embeddings=artifacts / "embeddings",
        folder=artifacts / "index",
    )
    config = make_denoiser_config(
        embedding_dim=32, token_dim=manifest.token_dim, width=32, head_width=16, residual=True
    )
    denoiser = make_random_denoiser(config, seed=2, output_std=0.05)
    trained_with = {"sampling": params.sampling.model_dump()}
    card = ModelCard(config, Process("diffusion", 1000), manifest.to_json(), trained_with)
    save_model(artifacts / "composed", denoiser.state_dict(), card)
    return root


def places_in(artifacts: Path, version: str = "the first") -> ServedPaths:
    """Where what `make_project` made is."""
    gallery = artifacts / "benchmark" / "gallery"
    return ServedPaths(
        "artifacts", version, artifacts / "composed", artifacts / "encoder", artifacts / "index", gallery, "by us"
    )


def search_by_shell(compodiff: Callable[..., tuple[int, str, str]], *arguments: str) -> dict[str, Any]:
    """The answer of `compodiff search` with the project's own model."""
    code, out, err = compodiff("search", "--model", "artifacts", "--json", *arguments)
    assert code == 0, err
    return json.loads(out)
