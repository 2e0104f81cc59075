"""A project whose parts are real and small: pictures, encoder, index, and a composed model with random weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import EmbeddingMaterial, make_embeddings
from compodiff.encoders import load_embedded_encoder, load_encoder, save_encoder
from compodiff.model.checkpoint import ModelCard, save_model
from compodiff.model.network.denoiser import Denoiser, DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.params import load_params
from compodiff.serving.champion import ServedPaths
from compodiff.stages.assemble_benchmark import assemble_benchmark
from compodiff.stages.build_index import build_index
from compodiff.stages.set_dials import set_dials

PARAMS = Path(__file__).parents[2] / "params.yaml"


def make_project(root: Path, data: Path, catalogue: Catalogue) -> Path:
    """Put params.yaml and artifacts/ (a benchmark, an encoder at 64 px, embeddings, an index, a model) at `root`."""
    torch.set_num_threads(1)
    shutil.copy(PARAMS, root)
    params = load_params(PARAMS)
    artifacts = root / "artifacts"
    encoder = load_embedded_encoder(embedding_dim=32, image_size=64, generator=torch.Generator().manual_seed(1))
    manifest = save_encoder(encoder, artifacts / "encoder")
    benchmark, embeddings = artifacts / "benchmarks" / "emoji", artifacts / "benchmark_embeddings" / "emoji"
    assemble_benchmark(name="emoji", params=params.benchmarks["emoji"], reads=data, folder=benchmark)
    material = EmbeddingMaterial(catalogue.list_distinct(), catalogue.read, "small", [])
    make_embeddings(embeddings, load_encoder(artifacts / "encoder"), material, params.embedding)
    build_index(index=params.index, benchmark=benchmark, embeddings=embeddings, folder=artifacts / "index")
    config = DenoiserConfig(32, manifest.token_dims, 32, 2, 2, 2, 16, 2, 8, 2, residual=True)
    torch.manual_seed(2)  # nn.Module draws its weights from the global generator
    denoiser = Denoiser(config)
    torch.nn.init.normal_(denoiser.output_projection.weight, std=0.05)
    card = ModelCard(config, Process("diffusion", 1000), manifest.to_json(), {})
    set_dials(sampling=params.sampling, dials=artifacts / "sampling.json")
    save_model(artifacts / "composed", denoiser.state_dict(), card)
    return root


def places_in(artifacts: Path, version: str = "the first") -> ServedPaths:
    """Where what `make_project` made is."""
    gallery = artifacts / "benchmarks" / "emoji" / "gallery"
    return ServedPaths(
        "artifacts", version, artifacts / "composed", artifacts / "encoder", artifacts / "index", gallery, "by us"
    )


def search_by_shell(compodiff: Callable[..., tuple[int, str, str]], *arguments: str) -> dict[str, Any]:
    """The answer of `compodiff search` with the project's own model."""
    code, out, err = compodiff("search", "--model", "artifacts", "--json", *arguments)
    assert code == 0, err
    return json.loads(out)
