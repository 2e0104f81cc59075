"""The settings of flows/ stand before any test here imports Prefect."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import flows  # noqa: F401

if TYPE_CHECKING:
    from compodiff.encoders import Encoder


@pytest.fixture(scope="session")
def experiment_project(tmp_path_factory: pytest.TempPathFactory, small_data: Path, tiny_encoder: "Encoder") -> Path:
    """A small project whose stages have run as far as the models; experiments add to it."""
    from worlds.experiments import make_project

    return make_project(tmp_path_factory.mktemp("experiments"), small_data, tiny_encoder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: "Encoder") -> Path:
    """A folder with composed/ and encoder/, and the triplets folder benchmark/."""
    from worlds.benchmark import make_models

    root = tmp_path_factory.mktemp("models")
    make_models(root, tiny_encoder)
    return root
