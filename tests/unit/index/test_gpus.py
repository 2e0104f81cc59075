"""Searching on GPUs, with a stand-in for the card: what goes there, what does not, and what is said where none is."""

from types import SimpleNamespace

import faiss
import numpy as np
import pytest
from factories import compute_cosines, make_index_params
from worlds.shards import make_wide_manifest, write_vectors

from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.index import gpus
from compodiff.index.index import Index
from compodiff.index.segments.building import SegmentPlan, remove_rows
from compodiff.index.segments.making import VectorsToIndex, index_vectors

PARAMS = make_index_params(flat_up_to=1000)


class Card:
    """Copies as a GPU would hold them, and how often they were searched."""

    def __init__(self):
        self.copied, self.searches, self.fault = 0, 0, ""

    def copy(self, index, options):
        assert options.use_cuvs is False
        if self.fault:
            raise RuntimeError(f"Error: {self.fault}")
        self.copied += 1
        # Mapped lists cannot be cloned in memory.
        copy = SimpleNamespace() if hasattr(index, "nlist") else faiss.clone_index(index)
        search = index.search

        def count_and_search(unit, k, **_):
            self.searches += 1
            return search(unit, k)

        copy.search = count_and_search
        return copy


@pytest.fixture
def card(monkeypatch):
    card = Card()
    monkeypatch.setenv(gpus.DEVICE, "gpu")
    monkeypatch.setattr("faiss.get_num_gpus", lambda: 1)
    monkeypatch.setattr("faiss.GpuMultipleClonerOptions", SimpleNamespace, raising=False)
    monkeypatch.setattr("faiss.index_cpu_to_all_gpus", card.copy)
    return card


class Graphs:
    """Stands for cuVS: the graph that it copies is one that FAISS makes on the processor."""

    def __init__(self, _resources, width, metric, _settings):
        assert metric == faiss.METRIC_INNER_PRODUCT
        self.width = width

    def train(self, unit):
        self.unit = unit

    def copyTo(self, graph):
        graph.add(self.unit)


@pytest.fixture
def cuvs(monkeypatch):
    monkeypatch.setattr("faiss.get_num_gpus", lambda: 1)
    for name, made in {
        "GpuIndexCagra": Graphs,
        "GpuIndexCagraConfig": lambda: SimpleNamespace(graph_degree=32),
        "StandardGpuResources": SimpleNamespace,
    }.items():
        monkeypatch.setattr(f"faiss.{name}", made, raising=False)


def _make(tmp_path, kind, *, source=0, adds=False):
    vectors = write_vectors(tmp_path / str(source), source)
    plan = SegmentPlan(kind, lists=4, recall=1, pictures_root=str(tmp_path))
    asked = VectorsToIndex(tmp_path / str(source), make_wide_manifest(), plan, adds)
    index_vectors(tmp_path / "index", asked, PARAMS)
    return vectors


def _find_best(queries, vectors, k):
    return np.argsort(-compute_cosines(queries, vectors), axis=1)[:, :k]


@pytest.mark.parametrize("kind", ["flat", "ivf_sq8"])
def test_queries_go_to_the_card_and_those_with_a_filter_or_many_results_do_not(tmp_path, monkeypatch, card, kind):
    vectors = _make(tmp_path, kind)
    monkeypatch.setattr("compodiff.index.index._SCORED_AT_ONCE", 0)
    index, before = Index.load(tmp_path / "index"), (card.copied, card.searches)
    rows, _ = index.search(vectors[:9], 5)
    index.search(vectors[:9], 5)
    assert rows.tolist() == _find_best(vectors[:9], vectors, 5).tolist()
    assert (card.copied, card.searches) == (before[0] + 1, before[1] + 2)
    allowed = np.arange(100)
    assert index.search(vectors[:9], 3, allowed=allowed)[0].max() < 100
    monkeypatch.setattr(gpus, "_MOST_RESULTS", 4)
    index.search(vectors[:9], 5)
    assert card.searches == before[1] + 2


def test_rows_that_were_removed_are_found_by_no_card(tmp_path, card):
    vectors = _make(tmp_path, "ivf_sq8")
    remove_rows(tmp_path / "index", ["0/0003.jpg"])
    before = card.searches
    rows, _ = Index.load(tmp_path / "index").search(vectors[3:4], 5)
    assert 3 not in rows
    assert card.searches == before


@pytest.mark.parametrize("kind", ["flat", "ivf_rabitq"])
def test_a_card_that_cannot_hold_the_index_is_said_once_and_the_processor_searches(tmp_path, card, caplog, kind):
    vectors = _make(tmp_path, kind)
    caplog.clear()
    card.fault = "cudaMalloc error out of memory"
    index = Index.load(tmp_path / "index")
    for _ in range(3):
        assert index.search(vectors[:9], 1)[0].ravel().tolist() == list(range(9))
    assert caplog.messages == [
        "the GPUs cannot be used (Error: cudaMalloc error out of memory): the processor works alone"
    ]


def test_nothing_is_copied_where_nobody_asks(tmp_path, card, monkeypatch):
    monkeypatch.setenv(gpus.DEVICE, "cpu")
    vectors = _make(tmp_path, "flat")
    Index.load(tmp_path / "index").search(vectors[:2], 1)
    assert card.copied == 0


@pytest.mark.parametrize(
    ("device", "error", "said"),
    [
        ("cuda", InputInvalid, "COMPODIFF_INDEX_DEVICE is 'cuda'; set it to cpu or gpu"),
        ("gpu", ResourceUnavailable, "this FAISS finds none; install faiss-gpu in place of faiss-cpu"),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_one_line(tmp_path, monkeypatch, device, error, said):
    _make(tmp_path, "flat")
    monkeypatch.setenv(gpus.DEVICE, device)
    monkeypatch.setattr("faiss.get_num_gpus", lambda: 0)
    with pytest.raises(error, match=said) as raised:
        Index.load(tmp_path / "index")
    assert "\n" not in str(raised.value)


def test_a_graph_is_refused_where_it_cannot_be_built(tmp_path, monkeypatch):
    monkeypatch.delattr("faiss.GpuIndexCagra", raising=False)
    with pytest.raises(ResourceUnavailable, match="install faiss-gpu-cuvs in its place, or name another --kind"):
        _make(tmp_path, "cagra")
    monkeypatch.setattr("faiss.GpuIndexCagra", Graphs, raising=False)
    monkeypatch.setattr("faiss.get_num_gpus", lambda: 0)
    with pytest.raises(ResourceUnavailable, match="is built on a GPU, and FAISS finds none"):
        _make(tmp_path, "cagra")
    assert not (tmp_path / "index").exists()


@pytest.mark.usefixtures("cuvs")
def test_a_graph_is_searched_on_the_processor_filtered_and_grown(tmp_path, monkeypatch):
    vectors = _make(tmp_path, "cagra")
    monkeypatch.setattr("compodiff.index.index._SCORED_AT_ONCE", 0)
    index = Index.load(tmp_path / "index")
    assert (index.manifest.kind, index.manifest.rerank) == ("cagra", 0)
    rows, scores = index.search(vectors[:20], 5)
    best = _find_best(vectors[:20], vectors, 5)
    assert np.mean(rows == best) >= 0.95
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-5)
    allowed = np.arange(0, 300, 30)
    rows, _ = index.search(vectors[:20], 5, allowed=allowed)
    assert np.mean(rows == allowed[_find_best(vectors[:20], vectors[allowed], 5)]) >= 0.95
    more = _make(tmp_path, "auto", source=1, adds=True)
    index = Index.load(tmp_path / "index")
    assert (index.manifest.kind, index.manifest.count) == ("cagra", 600)
    assert index.search(more[7:8], 1)[0].item() == 307


@pytest.mark.usefixtures("cuvs")
def test_a_card_too_small_for_a_graph_ends_in_one_line(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("Error:\n out of memory")

    monkeypatch.setattr(Graphs, "train", fail)
    with pytest.raises(ResourceUnavailable, match=r"build a graph of 300 vectors \(Error: out of memory\); name"):
        _make(tmp_path, "cagra")
    assert not (tmp_path / "index").exists()
