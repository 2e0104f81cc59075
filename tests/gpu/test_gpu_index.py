"""FAISS on GPUs: lists are filled as on the processor."""

from pathlib import Path

import numpy as np
import pytest

from compodiff.precision import choose_device

faiss = pytest.importorskip("faiss")
pytestmark = pytest.mark.gpu


def test_a_gpu_puts_vectors_into_the_lists_of_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compodiff.index.segments import lists

    if choose_device().type == "cuda" and not getattr(faiss, "get_num_gpus", lambda: 0)():
        pytest.skip("this FAISS is one for processors")
    vectors = np.random.default_rng(1).standard_normal((2000, 16), np.float32)
    lists.train("ivf_sq8", 8, vectors, tmp_path / "trained")
    lists.fill(tmp_path / "trained", [vectors], 0, tmp_path / "there")
    monkeypatch.setattr(lists, "_move_to_gpus", lambda _: None)
    lists.fill(tmp_path / "trained", [vectors], 0, tmp_path / "here")
    there, here = (faiss.read_index(str(tmp_path / name)) for name in ("there", "here"))
    sizes = [[index.invlists.list_size(number) for number in range(8)] for index in (there, here)]
    np.testing.assert_allclose(sizes[0], sizes[1], atol=2)  # a vector between two lists
