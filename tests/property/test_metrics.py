"""The chunked metrics equal an obvious twin: all scores in one float64 matrix, every ranking a sorted list."""

import numpy as np
from factories import compute_cosines
from hypothesis import given, settings
from hypothesis import strategies as st

from compodiff.benchmarks.datasets.benchmark import Benchmark, BenchmarkProtocol, BenchmarkQuery
from compodiff.benchmarks.datasets.pictures import FilePictures
from compodiff.benchmarks.scoring.ranking import Similarity, find_top_rows
from compodiff.benchmarks.scoring.scorer import Scorer
from compodiff.benchmarks.scoring.vectors import Vectors

NO_PICTURES = FilePictures(lambda picture: [])
KS = (1, 2, 3, 5, 10)


def worst_ranking(scores, names, weights, left_out):
    """Names by falling score; among equals the least wanted first. Cosines of small integers differ by > 1e-9."""
    kept = [name for name in names if name not in left_out]
    return sorted(kept, key=lambda name: (-round(scores[name], 9), weights.get(name, -1)))


def twin(benchmark, scores):
    """Outcomes of each query from a dictionary of scores per query."""
    outcomes = {}
    protocol = benchmark.protocol

    def add(metric, value):
        outcomes.setdefault(metric, []).append(value)

    for query, of_query in zip(benchmark.queries, scores, strict=True):
        left_out = {query.reference} if protocol.excludes_reference else set()
        targets = dict.fromkeys(query.targets, 1)
        relevant = dict.fromkeys((*query.targets, *query.also_relevant), 1)
        recall_list = worst_ranking(of_query, benchmark.gallery, targets, left_out)
        map_list = worst_ranking(of_query, benchmark.gallery, relevant, left_out)
        soft_list = worst_ranking(of_query, benchmark.gallery, query.label_weights, left_out)
        subset_list = worst_ranking(of_query, query.candidates, targets, left_out)
        for k in KS:
            add(f"recall_at_{k}", float(any(name in targets for name in recall_list[:k])))
            add(f"subset_recall_at_{k}", float(any(name in targets for name in subset_list[:k])))
            add(f"soft_recall_at_{k}", max([0, *(query.label_weights.get(name, 0) for name in soft_list[:k])]))
            soft_subset = worst_ranking(of_query, query.candidates, query.label_weights, left_out)
            labels = [query.label_weights.get(name, 0) for name in soft_subset[:k]]
            add(f"soft_subset_recall_at_{k}", max([0, *labels]))
            hits = [rank for rank, name in enumerate(map_list[:k], start=1) if name in relevant]
            precision = sum(found / rank for found, rank in enumerate(hits, start=1))
            add(f"map_at_{k}", precision / min(len(relevant), k))
    return {metric: np.array(values, dtype=float) for metric, values in outcomes.items()}


@st.composite
def benchmarks(draw):
    """A benchmark over small integer embeddings: scores tie often, vectors repeat, some are zero."""
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    size, count, width = draw(st.integers(6, 40)), draw(st.integers(1, 9)), draw(st.integers(2, 5))
    embeddings = generator.integers(-1, 2, size=(size, width))
    names = [f"picture-{i}" for i in range(size)]
    queries = []
    for i in range(count):
        pick = [names[j] for j in generator.permutation(size)]
        targets, others, labelled = 1 + generator.integers(2), generator.integers(3), generator.integers(3)
        rest = pick[1 + targets :]
        queries.append(
            BenchmarkQuery(
                key=str(i),
                reference=pick[0],
                relative_caption="",
                texts=("",),
                targets=tuple(pick[1 : 1 + targets]),
                also_relevant=tuple(rest[:others]),
                label_weights=dict(zip(pick[: labelled + 1], (1.0, 0.5, -1.0), strict=False)),
                candidates=tuple(generator.permutation(pick[1:6]).tolist()),
            )
        )
    protocol = BenchmarkProtocol(KS, KS, KS, soft=True, excludes_reference=draw(st.booleans()))
    benchmark = Benchmark("twin", "test", tuple(queries), protocol, NO_PICTURES, tuple(names))
    return benchmark, embeddings, generator.integers(-1, 2, size=(2, count, width))


@given(
    benchmarks(),
    st.sampled_from([1, 2, 3, 7, 16, 10_000]),
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.sampled_from([(1, np.multiply, 0.0), (2, np.multiply, 0.0), (2, np.maximum, 0.0), (2, np.multiply, 1.0)]),
    st.integers(0, 3),
)
@settings(max_examples=300, deadline=None)
def test_scores_equal_brute_force(case, chunk, dtype, fusion, extra):
    benchmark, embeddings, queries = case
    parts, combine, offset = fusion
    scores = combine.reduce([compute_cosines(part, embeddings) + offset for part in queries[:parts]])
    expected = twin(benchmark, [dict(zip(benchmark.gallery, row, strict=True)) for row in scores])

    # Lengths must not matter, nor pictures that the benchmark does not rank, nor the order of the file.
    generator = np.random.default_rng(chunk)
    lengths = 2.0 ** generator.integers(-3, 4, size=(len(embeddings), 1))
    ids = [*benchmark.gallery, *(f"other-{i}" for i in range(extra))]
    given_embeddings = np.concatenate([embeddings * lengths, np.ones((extra, embeddings.shape[1]))]).astype(dtype)
    order = generator.permutation(len(ids))
    vectors = Vectors(tuple(ids[i] for i in order), given_embeddings[order])
    similarity = Similarity(tuple(part.astype(dtype) for part in queries[:parts]), combine, offset)

    scored = Scorer(chunk=chunk).score(benchmark, vectors, similarity)
    assert set(scored.outcomes) == set(expected)
    for metric, values in expected.items():
        np.testing.assert_allclose(scored.outcomes[metric], values, atol=1e-12, err_msg=metric)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 8, 50, 1000]), st.sampled_from([np.float32, np.float64]))
@settings(max_examples=25, deadline=None)
def test_real_numbers_rank_as_in_float64(seed, chunk, dtype):
    """Embeddings so crowded that float32 products cannot order them: ranks must still be those of float64."""
    generator = np.random.default_rng(seed)
    centre = generator.standard_normal(64)
    embeddings = (centre + 1e-4 * generator.standard_normal((200, 64))).astype(dtype)
    queries = (centre + 1e-4 * generator.standard_normal((5, 64))).astype(dtype)
    scores = compute_cosines(queries, embeddings)
    names = tuple(map(str, range(200)))
    benchmark = Benchmark(
        "crowd",
        "test",
        tuple(BenchmarkQuery(str(i), "none", "", ("",), targets=(str(7 * i),)) for i in range(5)),
        BenchmarkProtocol(recall_ks=(1,)),
        NO_PICTURES,
        names,
    )
    expected = [int((scores[i] >= scores[i, 7 * i] - 1e-9).sum()) for i in range(5)]
    assert (
        Scorer(chunk=chunk).score(benchmark, Vectors(names, embeddings), Similarity((queries,))).ranks.tolist()
        == expected
    )


@given(benchmarks(), st.sampled_from([1, 3, 7, 10_000]), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_top_rows_equal_a_sort(case, chunk, k):
    _, embeddings, queries = case
    generator = np.random.default_rng(k)
    excluded = generator.integers(-1, len(embeddings), size=queries.shape[1])
    scores = compute_cosines(queries[0], embeddings).round(9)
    scores[np.arange(len(scores)), excluded] = np.where(excluded >= 0, -np.inf, scores[:, -1])
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    similarity = Similarity((queries[0].astype(np.float32),))
    rows = find_top_rows(similarity, embeddings.astype(np.float32), k, excluded=excluded[:, None], chunk=chunk)
    np.testing.assert_array_equal(rows, expected)


@given(st.integers(1, 50), st.integers(1, 9), st.sampled_from([np.float16, np.float32, np.float64]))
def test_a_model_that_sees_nothing_scores_nothing(size, width, dtype):
    """Equal embeddings everywhere: the target is the last of its ties."""
    names = tuple(map(str, range(size)))
    query = BenchmarkQuery("q", "none", "", ("",), targets=("0",), candidates=names)
    protocol = BenchmarkProtocol(recall_ks=(1, size), candidate_ks=(1, size))
    benchmark = Benchmark("blind", "test", (query,), protocol, NO_PICTURES, names)
    ones = np.ones((size, width), dtype=dtype)
    scored = Scorer(chunk=4).score(benchmark, Vectors(names, ones), Similarity((ones[:1],)))
    assert scored.ranks.tolist() == [size]
    assert scored.metrics[f"recall_at_{size}"] == scored.metrics[f"subset_recall_at_{size}"] == 1
    assert scored.metrics["recall_at_1"] == (size == 1)
