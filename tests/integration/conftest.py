"""The settings of flows/ stand before any test here imports Prefect."""

import multiprocessing
import os
from copy import copy
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import flows  # noqa: F401

if TYPE_CHECKING:
    from compodiff.encoders import Encoder


@pytest.fixture(scope="session")
def experiment_project(tmp_path_factory: pytest.TempPathFactory, small_data: Path, tiny_encoder: "Encoder") -> Path:
    """A small project whose stages have run as far as the models; experiments add to it.

    A quarter of its embeddings are dimensions for classes, which no model learns, as of the default encoder.
    """
    from worlds.experiments import make_project

    encoder, own = copy(tiny_encoder), tiny_encoder.manifest
    encoder.manifest = replace(own, picture=replace(own.picture, class_dimensions=own.embedding_dim // 4))
    return make_project(tmp_path_factory.mktemp("experiments"), small_data, encoder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: "Encoder") -> Path:
    """A folder with composed/ and encoder/, and the triplets folder benchmark/."""
    from worlds.benchmark import make_models

    root = tmp_path_factory.mktemp("models")
    make_models(root, tiny_encoder)
    return root


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Embeddings and examples of the small world in which composition can be learned."""
    from worlds.training import write_embeddings

    write_embeddings(tmp_path / "embeddings")
    return tmp_path


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Fresh processes that need not import torch and DeepSpeed again."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["worlds.training", "deepspeed"])
    return context
