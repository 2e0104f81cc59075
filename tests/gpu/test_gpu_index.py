"""FAISS on GPUs: lists are filled as on the processor, indexes are searched as there, and graphs are built."""

from pathlib import Path

import numpy as np
import pytest
from factories import make_index_params
from worlds.shards import make_wide_manifest, write_vectors

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
    monkeypatch.setattr(lists, "copy_to_gpus", lambda _: None)
    lists.fill(tmp_path / "trained", [vectors], 0, tmp_path / "here")
    there, here = (faiss.read_index(str(tmp_path / name)) for name in ("there", "here"))
    sizes = [[index.invlists.list_size(number) for number in range(8)] for index in (there, here)]
    np.testing.assert_allclose(sizes[0], sizes[1], atol=2)  # a vector between two lists


@pytest.mark.parametrize("kind", ["flat", "ivf_sq8", "cagra"])
def test_an_index_on_a_gpu_finds_what_the_processor_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    from compodiff.index import gpus
    from compodiff.index.index import Index
    from compodiff.index.segments.building import SegmentPlan
    from compodiff.index.segments.making import VectorsToIndex, index_vectors

    if not gpus.count_gpus() or (kind == "cagra" and not hasattr(faiss, "GpuIndexCagra")):
        pytest.skip("this FAISS is one for processors, or has no CAGRA")
    vectors = write_vectors(tmp_path / "shards", 0, count=5000)
    asked = VectorsToIndex(tmp_path / "shards", make_wide_manifest(), SegmentPlan(kind, recall=0.99))
    index_vectors(tmp_path / "index", asked, make_index_params(flat_up_to=10_000))
    here = Index.load(tmp_path / "index").search(vectors[:100], 10)
    monkeypatch.setenv(gpus.DEVICE, "gpu")
    there = Index.load(tmp_path / "index").search(vectors[:100], 10)
    assert caplog.messages == []  # the processor was not needed
    assert np.mean(here[0][:, 0] == np.arange(100)) >= 0.99
    assert np.mean(here[0] == there[0]) >= 0.98  # neighbours that are equally near
    np.testing.assert_allclose(here[1], there[1], atol=2e-3)
