"""A small project whose stages have run over a small catalogue, up to what trainings and experiments read."""

import os
import shutil
from pathlib import Path
from unittest import mock

import torch
import yaml

from compodiff.embeddings import Embeddings
from compodiff.encoders import Encoder, save_encoder
from compodiff.model.checkpoint import ModelCard, save_model
from compodiff.model.network.denoiser import Denoiser, DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.params import load_params
from compodiff.stages.declaration import run_stage

SMALLER = {
    "denoiser": {"width": 16, "depth": 1, "heads": 2, "cross_heads": 2, "head_width": 8, "feed_forward_factor": 2},
    "embedding": {"batch_size": 64},
    "sampling": {"classes": None},  # else texts decide: a small CLIP's pictures are like nothing that was learned
}
TASKS = {
    "text_to_image": {"emoji": 0.3},
    "masked": {"emoji": 0.2, "scenes": 0.1},
    "triplet": {"emoji_edits": 0.3, "scenes": 0.1},
}
STAGES = (
    *(f"{stage}@{name}" for name in ("emoji", "scenes") for stage in ("assemble_benchmark", "embed_benchmark")),
    *(f"{stage}@{name}" for name in ("emoji", "emoji_edits", "scenes") for stage in ("make_set", "embed", "validate")),
)


def make_project(root: Path, small_data: Path, encoder: Encoder) -> Path:
    """Run the stages; the prior and the composed model are residual networks of random weights."""
    content = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    for section, changes in SMALLER.items():
        content[section] |= changes
    for name in content["sets"]:
        content["sets"][name] |= {"min_rows": 1, "floors": None}
    content["sets"]["scenes"]["families"] = {"train": 4, "validation": 2}
    content["benchmarks"]["emoji"]["max_queries_per_relation"] = 6
    content["benchmarks"]["scenes"] |= {"families": {"validation": 2, "test": 2}, "edits_per_relation": 1}
    content["validation"]["max_rejected_fraction"] = 0.9
    for section in ("prior", "composed", "distillation"):
        content[section] |= {"batch_size": 10, "curve": content[section]["curve"] | {"queries": 10}}
    content["composed"]["tasks"] = content["distillation"]["tasks"] = TASKS
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    shutil.copytree(small_data, root / "data")
    save_encoder(encoder, root / "artifacts" / "encoder")
    # A spawned process would not know the tiny CLIP, which open_clip was told of in this one.
    with mock.patch.dict(os.environ, {"COMPODIFF_WORKERS": "1"}):
        for stage in STAGES:
            run_stage(stage, root)
    _write_models(root)
    return root


def _write_models(root: Path) -> None:
    params = load_params(root / "params.yaml")
    manifest = Embeddings.load(root / "artifacts" / "benchmark_embeddings" / "emoji").encoder
    shape = DenoiserConfig.of(params.denoiser, embedding_dim=manifest.learned_dim, token_dims=manifest.token_dims)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        weights = Denoiser(shape).state_dict()
    weights["constants.embedding_mean"].zero_()
    weights["constants.embedding_std"].fill_(1)
    for name in ("prior", "composed"):
        save_model(root / "artifacts" / name, weights, ModelCard(shape, Process("diffusion", 1000), manifest.to_json()))
