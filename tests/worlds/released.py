"""The models of `compodiff get compodiff-aesthetic` as the hub has them, tiny: the real classes, random weights."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from factories import make_random_denoiser
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from compodiff.hub import read_known
from compodiff.model.checkpoint import WEIGHTS, ModelCard, save_model
from compodiff.model.network.denoiser import RELEASED, DenoiserConfig
from compodiff.model.sampling.process import Process
from compodiff.released.conversion import export_released
from worlds.hub import LoopbackHub, point_at
from worlds.tiny_networks import TEXT, VISION, tokenizer

EMBEDDING_DIM, TOKEN_DIM = 16, 24
SHAPE = replace(RELEASED, embedding_dim=16, token_dims=(TOKEN_DIM,), width=16, depth=2, heads=2, head_width=8)
PICTURES, TEXTS = "openai/clip-vit-large-patch14", "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"
WEIGHTS_ID = "navervision/CompoDiff-Aesthetic"


def write_hub_folders(root: Path) -> Mapping[str, Path]:
    """Write each model's files below `root`; return the folders by hub id."""
    folders = {hub_id: root / hub_id for hub_id in (PICTURES, TEXTS, WEIGHTS_ID)}
    write_clip(folders[PICTURES], seed=1, projection_dim=EMBEDDING_DIM)
    write_clip(folders[TEXTS], seed=2, projection_dim=12, hidden_size=TOKEN_DIM, hidden_act="gelu")
    write_checkpoint(folders[WEIGHTS_ID])
    return folders


def write_clip(folder: Path, *, seed: int, projection_dim: int, **text: Any) -> None:
    """Write a CLIP of transformers with its tokenizer and preprocessing, as its hub folder has them."""
    texts = TEXT | {"hidden_act": "quick_gelu", "projection_dim": projection_dim} | text
    pictures = VISION | {"projection_dim": projection_dim}
    config = CLIPConfig(text_config=texts, vision_config=pictures, projection_dim=projection_dim)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIPModel(config)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)


def write_checkpoint(folder: Path, shape: DenoiserConfig = SHAPE) -> None:
    """Write pytorch_model.bin and config.json of the released architecture."""
    made = folder.parent / f"{folder.name}-made"
    denoiser = make_random_denoiser(shape)
    save_model(made, denoiser.state_dict(), ModelCard(shape, Process("diffusion", 1000)))
    export_released(made, folder)
    save_as_published(load_file(folder / WEIGHTS), folder)
    (folder / WEIGHTS).unlink()
    shutil.rmtree(made)


def save_as_published(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write pytorch_model.bin, in which the layers share their rotary frequencies."""
    shared = next(tensor for name, tensor in tensors.items() if name.endswith("rotary_emb.freqs"))
    same = {name: shared for name in tensors if name.endswith("rotary_emb.freqs")}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({**tensors, **same}, folder / "pytorch_model.bin")


def put_on_hub(hub: LoopbackHub, folders: Mapping[str, Path]) -> None:
    """Put folders on a hub, each as the commit that the project pins, where it pins one."""
    pinned = {known.hub_id: known.revision for known in read_known().values()}
    for hub_id, folder in folders.items():
        commit = hub.add(hub_id, folder, licence="apache-2.0" if hub_id == WEIGHTS_ID else "mit")
        if own := pinned[hub_id]:
            repository = hub.repositories["model", hub_id]
            repository.commits[own] = repository.commits.pop(commit)
            repository.refs["main"] = own


def use_home(home: Path, patched: pytest.MonkeyPatch, hub: LoopbackHub | None = None) -> None:
    """Let this process, and those that it starts, use the cache and the models below `home`."""
    gone = LoopbackHub() if hub is None else hub
    point_at(gone, home / "hf", patched)
    patched.setenv("COMPODIFF_HOME", str(home))
    if hub is None:
        gone.server_close()
