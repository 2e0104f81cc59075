"""A second look at the first pictures: a real cross-encoder, small, and what its order does to the scores."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories import draw_noise
from worlds.tiny_models import save_cross_encoder, save_sentence_bert

from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery
from compodiff.benchmarks.reranking import rerank, score_reranked
from compodiff.benchmarks.scoring.ranking import Similarity
from compodiff.benchmarks.scoring.scorer import Scorer
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.encoders.reranking import CrossEncoderReranker, Reranking
from compodiff.errors import InputInvalid

NAMES = tuple("abcdef")


class Album:
    """Pictures that differ."""

    def read(self, name):
        return draw_noise(NAMES.index(name))


@pytest.fixture
def ranked():
    """Two queries in a gallery of six; the first asks beside "a" for "c", the second beside "b" for "f"."""
    queries = (
        BenchmarkQuery("1", "a", "red", ("red dog",), ("c",)),
        BenchmarkQuery("2", "b", "cat", ("a cat",), ("f",)),
    )
    protocol = BenchmarkProtocol(recall_ks=(1, 3, 5), map_ks=(5,), excludes_reference=True)
    part = Benchmark("own", "test", queries, protocol, Album(), NAMES)
    vectors = Vectors(NAMES, np.random.default_rng(0).standard_normal((6, 8)))
    # Found in the order of the alphabet: "a b c d e f" less the reference.
    target = np.linalg.pinv(vectors.embeddings / np.linalg.norm(vectors.embeddings, axis=1, keepdims=True))
    similarity = Similarity((np.stack([target @ np.arange(6, 0, -1.0)] * 2),))
    return Scorer(chunk=4).score(part, vectors, similarity), vectors, similarity


class Backwards:
    """Likes the last picture best."""

    def score(self, references, text, pictures):
        return np.arange(len(pictures))


def test_only_the_first_pictures_change_places(ranked):
    scored, vectors, similarity = ranked
    assert rerank(scored, vectors, similarity, Reranking(Backwards(), 3), 4) == [list("dcbef"), list("dcaef")]
    before = {name: list(values) for name, values in scored.outcomes.items()}
    assert before["recall_at_3"] == [1, 0]
    lists = rerank(scored, vectors, similarity, Reranking(Backwards(), 5), 4)
    after = score_reranked(scored, lists)
    assert lists == [list("fedcb"), list("fedca")]
    assert [list(after[f"recall_at_{k}"]) for k in (1, 3, 5)] == [[0, 1], [0, 1], [1, 1]]
    np.testing.assert_allclose(after["map_at_5"], [1 / 4, 1])
    whole = replace(scored.benchmark, protocol=replace(scored.benchmark.protocol, full_map=True))
    assert score_reranked(replace(scored, benchmark=whole), lists).keys() == after.keys(), "a list ends somewhere"


def test_a_cross_encoder_sees_reference_text_and_picture(tmp_path: Path):
    save_cross_encoder(tmp_path / "model")
    reranker = CrossEncoderReranker(tmp_path / "model")
    pictures = [draw_noise(1), draw_noise(2)]
    scores = reranker.score([draw_noise(0)], "red dog", pictures)
    assert scores.shape == (2,)
    assert scores[0] != scores[1]
    np.testing.assert_allclose(reranker.score([draw_noise(0)], "red dog", pictures[::-1]), scores[::-1], atol=1e-6)
    for others in (([draw_noise(5)], "red dog"), ([draw_noise(0)], "cat"), ([draw_noise(0), draw_noise(1)], "red dog")):
        assert (reranker.score(*others, pictures) != scores).all()


def test_a_model_that_reads_no_pictures_is_named(tmp_path: Path):
    save_sentence_bert(tmp_path / "model")
    with pytest.raises(InputInvalid, match="model reads no pictures; take one such as Qwen3-VL-Reranker"):
        CrossEncoderReranker(tmp_path / "model")
