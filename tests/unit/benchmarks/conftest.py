import os
from pathlib import Path

import numpy as np
import pytest

ANNOTATIONS = Path(
    os.environ.get("COMPODIFF_BENCHMARKS_DIR", Path(__file__).parents[3].parent / "shared" / "benchmarks")
)


@pytest.fixture(scope="session")
def annotations() -> Path:
    """The official annotation files, which are not part of the project."""
    if not ANNOTATIONS.is_dir():
        pytest.skip(f"no official annotations in {ANNOTATIONS}; set COMPODIFF_BENCHMARKS_DIR")
    return ANNOTATIONS


@pytest.fixture
def save(tmp_path):
    """Save G.npz and Q.npz and return the options that name them."""

    def save(ids, gallery, queries):
        np.savez(tmp_path / "G.npz", ids=np.array(ids), embeddings=gallery)
        np.savez(tmp_path / "Q.npz", embeddings=queries)
        return ["--gallery", str(tmp_path / "G.npz"), "--queries", str(tmp_path / "Q.npz")]

    return save
