"""An encoder of parts goes through the stages as the default one does: trained with, indexed, searched."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from worlds.search import PARAMS
from worlds.tiny_models import save_clip, save_siglip

from compodiff.catalogue.pictures import Catalogue
from compodiff.embeddings import EmbeddingMaterial, make_embeddings
from compodiff.encoders import load_encoder
from compodiff.model.checkpoint import ModelCard, save_model
from compodiff.model.network.denoiser import Denoiser, DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.params import EncoderParams, load_params
from compodiff.search.query import Query
from compodiff.search.searcher import Searcher
from compodiff.stages.assemble_benchmark import assemble_benchmark
from compodiff.stages.build_index import build_index
from compodiff.stages.set_dials import set_dials
from compodiff.stages.train_encoder import train_encoder


@pytest.mark.parametrize(
    ("save", "changes"),
    [(save_siglip, {}), (save_clip, {"padding": "attended", "layer": -2, "template": "a photo of {}"})],
)
def test_pictures_are_embedded_indexed_and_found(
    save: Callable[[Path], Any],
    changes: dict[str, Any],
    small_data: Path,
    small_catalogue: Catalogue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save(tmp_path / "model")
    shutil.copy(PARAMS, tmp_path)
    monkeypatch.chdir(tmp_path)
    params, artifacts = load_params(PARAMS), tmp_path / "artifacts"
    part = {"name": str(tmp_path / "model")}
    encoder = EncoderParams.model_validate({"embedded": None, "parts": {"picture": part, "texts": [part | changes]}})
    train_encoder(encoder=encoder, data=small_data, folder=artifacts / "encoder")
    loaded = load_encoder(artifacts / "encoder")
    manifest = loaded.manifest
    assert manifest.record["agreement"]["bfloat16"]["pictures"] > 0.9
    benchmark, embeddings = artifacts / "benchmarks" / "emoji", artifacts / "benchmark_embeddings" / "emoji"
    assemble_benchmark(name="emoji", params=params.benchmarks["emoji"], reads=small_data, folder=benchmark)
    material = EmbeddingMaterial(small_catalogue.list_distinct(), small_catalogue.read, "small", ["a red cat"])
    make_embeddings(embeddings, loaded, material, params.embedding)
    build_index(index=params.index, benchmark=benchmark, embeddings=embeddings, folder=artifacts / "index")
    config = DenoiserConfig(manifest.embedding_dim, manifest.token_dims, 32, 2, 2, 2, 16, 2, 8, 2, residual=True)
    torch.manual_seed(2)
    set_dials(sampling=params.sampling, dials=artifacts / "sampling.json")
    card = ModelCard(config, Process("diffusion", 1000), manifest.to_json(), {})
    save_model(artifacts / "composed", Denoiser(config).state_dict(), card)

    searcher = Searcher.load("artifacts")
    name = searcher.picture_ids[0]
    hits = searcher.answer(Query(reference=name, relative_caption="in the other style", k=5)).hits
    assert len(hits) == 5
    by_text = searcher.answer(Query(relative_caption="a red cat", mode="text", k=3)).hits
    assert len(by_text) == 3
