"""`compodiff benchmark score` on the official annotations, against evaluators written as their papers describe them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from factories import compute_cosines
from typer.testing import CliRunner

from compodiff.cli import app
from compodiff.errors import CompoDiffError

ANNOTATIONS = Path(
    os.environ.get("COMPODIFF_BENCHMARKS_DIR", Path(__file__).parents[2].parent / "shared" / "benchmarks")
)
official = pytest.mark.skipif(not ANNOTATIONS.is_dir(), reason=f"no official annotations in {ANNOTATIONS}")
WIDTH = 24


def benchmark(*arguments, code=0):
    """Run the command; an error of the user's is raised, as `main` would print it."""
    result = CliRunner().invoke(app, ["benchmark", *map(str, arguments)])
    if isinstance(result.exception, CompoDiffError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def annotation(name):
    return json.loads((ANNOTATIONS / name).read_text())


@pytest.fixture
def saved(tmp_path):
    """Save G.npz and Q.npz; return the options that name them."""

    def save(ids, gallery, queries):
        np.savez(tmp_path / "G.npz", ids=np.array(ids), embeddings=gallery)
        np.savez(tmp_path / "Q.npz", embeddings=queries)
        return "--gallery", tmp_path / "G.npz", "--queries", tmp_path / "Q.npz"

    return save


def random_vectors(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def metrics(output):
    found = json.loads(output)["metrics"]
    assert all(0 <= value <= 1 for value in found.values())
    return found


@official
def test_cirr_hard_soft_and_subset(saved):
    items = annotation("cirr/captions/cap.rc2.val.json")
    names = list(annotation("cirr/image_splits/split.rc2.val.json"))
    row = {name: i for i, name in enumerate(names)}
    gallery = random_vectors(0, len(names), WIDTH)
    # Queries between reference and target, so that every K has hits.
    queries = gallery[[row[item["target_hard"]] for item in items]] + 1.2 * random_vectors(1, len(items), WIDTH)
    scores = compute_cosines(queries, gallery)
    expected = {}
    for i, item in enumerate(items):
        order = [names[j] for j in np.argsort(-scores[i]) if names[j] != item["reference"]]
        members = [name for name in order if name in item["img_set"]["members"]]
        for k in (1, 5, 10, 50):
            expected.setdefault(f"recall_at_{k}", []).append(item["target_hard"] in order[:k])
            labels = [weight for name, weight in item["target_soft"].items() if name in order[:k]]
            expected.setdefault(f"soft_recall_at_{k}", []).append(max([0, *labels]))
        for k in (1, 2, 3):
            expected.setdefault(f"subset_recall_at_{k}", []).append(item["target_hard"] in members[:k])
            labels = [weight for name, weight in item["target_soft"].items() if name in members[:k]]
            expected.setdefault(f"soft_subset_recall_at_{k}", []).append(max([0, *labels]))
    shuffled = np.random.default_rng(2).permutation(len(names))
    options = saved([names[i] for i in shuffled], 3 * gallery[shuffled], queries)
    found = metrics(benchmark("score", "cirr", "--root", ANNOTATIONS / "cirr", "--split", "val", *options, "--json"))
    assert found == pytest.approx({name: float(np.mean(values)) for name, values in expected.items()})
    assert 0.05 < found["recall_at_1"] < found["recall_at_50"] < 1


@official
@pytest.mark.parametrize("written_as", [int, str, lambda number: f"{number:012d}.jpg"])
def test_circo_average_precision_and_aspects(saved, written_as):
    items = annotation("circo/annotations/val.json")
    named = sorted({n for item in items for n in (item["reference_img_id"], *item["gt_img_ids"])})
    ids = [*named, *range(600_000, 600_500)]
    row = {number: i for i, number in enumerate(ids)}
    gallery = random_vectors(3, len(ids), WIDTH)
    queries = gallery[[row[item["gt_img_ids"][-1]] for item in items]] + random_vectors(4, len(items), WIDTH)
    order = np.argsort(-compute_cosines(queries, gallery), axis=1)
    expected, aspects = {}, {}
    for item, ranked in zip(items, order, strict=True):
        hit = np.isin([ids[i] for i in ranked[:50]], item["gt_img_ids"])
        precision = np.cumsum(hit) * hit / np.arange(1, 51)
        for k in (5, 10, 25, 50):
            value = precision[:k].sum() / min(len(item["gt_img_ids"]), k)
            expected.setdefault(f"map_at_{k}", []).append(value)
            expected.setdefault(f"recall_at_{k}", []).append(item["target_img_id"] in [ids[i] for i in ranked[:k]])
            for aspect in item["semantic_aspects"] if k == 10 else ():
                aspects.setdefault(aspect, []).append(value)
    options = saved([written_as(number) for number in ids], gallery, queries)
    output = benchmark("score", "circo", "--root", ANNOTATIONS / "circo", "--split", "val", *options, "--json")
    found, groups = metrics(output), json.loads(output)["groups"]
    for name, values in expected.items():
        assert found[name] == pytest.approx(np.mean(values)), name
    assert {name: group["map_at_10"] for name, group in groups.items()} == pytest.approx(
        {name: np.mean(values) for name, values in aspects.items()}
    )


@official
@pytest.mark.parametrize("variant", ["original", "val"])
def test_fashioniq_is_the_mean_of_three_galleries(saved, variant):
    expected, vectors, all_queries, ids = {10: [], 50: []}, [], [], []
    for category in ("dress", "shirt", "toptee"):
        items = annotation(f"fashioniq/captions/cap.{category}.val.json")
        names = annotation(f"fashioniq/image_splits/split.{category}.val.json")
        gallery = random_vectors(len(names), len(names), WIDTH)
        known = {name: i for i, name in enumerate(ids)}
        for i, name in enumerate(names):  # a few pictures belong to two categories
            if name in known:
                gallery[i] = np.concatenate(vectors)[known[name]]
        fresh = [i for i, name in enumerate(names) if name not in known]
        ids += [names[i] for i in fresh]
        vectors.append(gallery[fresh])
        row = {name: i for i, name in enumerate(names)}
        queries = gallery[[row[item["target"]] for item in items]] + random_vectors(5, len(items), WIDTH)
        all_queries.append(queries)
        used = sorted({row[item[key]] for item in items for key in ("target", "candidate")})
        kept = np.arange(len(names)) if variant == "original" else np.array(used)
        scores = compute_cosines(queries, gallery[kept])
        own = scores[np.arange(len(items)), [int(np.flatnonzero(kept == row[item["target"]])[0]) for item in items]]
        rank = (scores > own[:, None]).sum(axis=1) + 1
        for k in (10, 50):
            expected[k].append(np.mean(rank <= k))
    root = ("--root", ANNOTATIONS / "fashioniq", "--split", "val", "--gallery-variant", variant, "--json")
    options = saved(ids, np.concatenate(vectors), np.concatenate(all_queries))
    output = benchmark("score", "fashioniq", *root, *options)
    assert metrics(output) == pytest.approx({f"recall_at_{k}": np.mean(values) for k, values in expected.items()})
    options = saved(ids, np.concatenate(vectors), all_queries[1])
    one = metrics(benchmark("score", "fashioniq", *root, "--category", "shirt", *options))
    assert one == pytest.approx({f"recall_at_{k}": values[1] for k, values in expected.items()})


@official
@pytest.mark.parametrize("task", ["change-object", "focus-object"])
def test_genecis_ties_are_not_wins(saved, task):
    items = annotation(f"genecis/{task.replace('-', '_')}.json")
    pictures = [[item["target"], *item["gallery"]] for item in items]
    numbers = sorted({one["val_image_id"] for of_query in pictures for one in of_query})
    row = {number: i for i, number in enumerate(numbers)}
    candidates = np.array([[row[one["val_image_id"]] for one in of_query] for of_query in pictures])
    gallery, queries = random_vectors(6, len(numbers), WIDTH), random_vectors(7, len(items), WIDTH)
    gallery[::3] = gallery[0]  # a third of the pictures look alike
    scores = np.take_along_axis(compute_cosines(queries, gallery).round(9), candidates, axis=1)
    rank = 1 + (scores[:, 1:] >= scores[:, :1]).sum(axis=1)
    options = saved(numbers, gallery, queries)
    root = ("--root", ANNOTATIONS / "genecis", "--split", "val", "--json")
    found = metrics(benchmark("score", f"genecis-{task}", *root, *options))
    assert found == pytest.approx({f"recall_at_{k}": np.mean(rank <= k) for k in (1, 2, 3)})


@official
def test_submissions_are_written_and_pass_their_own_check(saved, tmp_path):
    items = annotation("cirr/captions/cap.rc2.test1.json")
    names = list(annotation("cirr/image_splits/split.rc2.test1.json"))
    gallery, queries = random_vectors(8, len(names), WIDTH), random_vectors(9, len(items), WIDTH)
    root = ("--root", ANNOTATIONS / "cirr")
    benchmark("submit", "cirr", *root, *saved(names, gallery, queries), "--out", tmp_path / "out")
    recall = json.loads((tmp_path / "out/recall.json").read_text())
    subset = json.loads((tmp_path / "out/recall_subset.json").read_text())
    scores = compute_cosines(queries, gallery)
    for i in (0, 1000, 4147):
        item = items[i]
        order = [names[j] for j in np.argsort(-scores[i]) if names[j] != item["reference"]]
        assert recall[str(item["pairid"])] == order[:50]
        assert subset[str(item["pairid"])] == [name for name in order if name in item["img_set"]["members"]][:3]
    assert (recall["version"], recall["metric"], subset["metric"]) == ("rc2", "recall", "recall_subset")
    for name in ("recall.json", "recall_subset.json"):
        assert (tmp_path / "out" / name).stat().st_size < 5_000_000
        assert "is good" in benchmark("check-submission", "cirr", tmp_path / "out" / name, *root)

    ids = sorted({item["reference_img_id"] for item in annotation("circo/annotations/test.json")})
    options = saved(ids, random_vectors(10, len(ids), WIDTH), random_vectors(11, 800, WIDTH))
    root = ("--root", ANNOTATIONS / "circo")
    benchmark("submit", "circo", *root, *options, "--out", tmp_path / "circo")
    lists = json.loads((tmp_path / "circo/submission.json").read_text())
    assert list(lists) == [str(i) for i in range(800)]
    assert all(len(set(numbers)) == 50 and isinstance(numbers[0], int) for numbers in lists.values())
    benchmark("check-submission", "circo", tmp_path / "circo/submission.json", *root)


@official
@pytest.mark.parametrize("split", ["val", "test"])
def test_the_official_example_submissions_are_good(split):
    example = ANNOTATIONS / f"circo/submission_examples/submission_{split}.json"
    output = benchmark("check-submission", "circo", example, "--root", ANNOTATIONS / "circo")
    assert f"is good: mAP of circo {split}" in output
    if split == "val":  # by the published evaluation's definition: precision at hits over min(ground truths, K)
        lists = json.loads(example.read_text())
        values = []
        for item in annotation("circo/annotations/val.json"):
            hit = np.isin(lists[str(item["id"])][:10], item["gt_img_ids"])
            values.append((np.cumsum(hit) * hit / np.arange(1, 11)).sum() / min(len(item["gt_img_ids"]), 10))
        assert f"map_at_10 {np.mean(values):.4f}" in output


@official
def test_a_split_with_hidden_targets_is_sent_to_its_server(saved):
    options = saved([1, 2], random_vectors(0, 2, 4), random_vectors(1, 800, 4))
    with pytest.raises(CompoDiffError, match=r"circo test hides its targets; .*benchmark submit circo"):
        benchmark("score", "circo", "--root", ANNOTATIONS / "circo", "--split", "test", *options)


@official
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("cirr", ["val: 4,181 queries, gallery 2,297, as published", "2,297 of 2,297 pictures missing", "NLVR2"]),
        ("fashioniq", ["val dress: 2,017 queries, gallery 3,817, as published", "links rot"]),
        ("circo", ["test: 800 queries, gallery not listed, targets hidden", "cocodataset.org"]),
        ("genecis-change-object", ["val: 1,960 queries", "visualgenome"]),
        ("genecis-focus-attribute", ["focus_attribute.json is not in"]),
    ],
)
def test_the_doctor_says_what_is_there_and_where_the_rest_is(name, lines):
    output = benchmark("doctor", name, "--root", ANNOTATIONS / name.split("-")[0], code=1)
    for line in lines:
        assert line in output
    assert output.count("\n") <= 24
