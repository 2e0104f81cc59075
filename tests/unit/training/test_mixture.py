"""What a mixture of sets is refused for before hours of training."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from factories import make_training_params
from worlds.training import write_embeddings

from compodiff.errors import InputInvalid
from compodiff.training.mixture import describe_mixture


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """The same set twice, embedded and validated."""
    for name in ("raw", "unit"):
        write_embeddings(tmp_path / "embeddings" / name)
        shutil.move(tmp_path / "embeddings" / name / "examples", tmp_path / "validation" / name)
        (tmp_path / "validation" / name / "result.json").write_text("{}")
    return tmp_path


def describe(sets: Path) -> dict:
    shares = {"text_to_image": {"raw": 0.25, "unit": 0.25}, "masked": {"raw": 0.25}, "triplet": {"raw": 0.25}}
    params = make_training_params(tasks=shares, curve={"set": "raw", "benchmark": None, "queries": 5})
    return describe_mixture(params.tasks, sets / "embeddings", sets / "validation")


def test_sets_whose_embeddings_were_normalised_are_not_mixed_with_others(sets):
    assert describe(sets)["tasks"]["text_to_image"]["unit"]["share"] == 0.25
    path = sets / "embeddings" / "unit" / "images.npy"
    images = np.load(path).astype(np.float32)
    np.save(path, (images / np.linalg.norm(images, axis=1, keepdims=True)).astype(np.float16))
    with pytest.raises(InputInvalid, match=r"the set unit have embeddings of length 1, those of raw of .*--length"):
        describe(sets)


def test_sets_whose_pictures_differ_in_length_by_themselves_are_mixed(sets):
    path = sets / "embeddings" / "unit" / "images.npy"
    images = np.load(path).astype(np.float32)
    lengths = np.linspace(0.2, 0.4, len(images))[:, None]
    np.save(path, (images * lengths).astype(np.float16))
    assert describe(sets)["tasks"]["text_to_image"]["unit"]["share"] == 0.25
