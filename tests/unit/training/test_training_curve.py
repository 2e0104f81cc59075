"""The curve: its figures against a brute-force count, and its file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from worlds import training as training_world

from compodiff.embeddings import SetEmbeddings
from compodiff.embeddings.token_arrays import TokenArrays
from compodiff.errors import InputInvalid
from compodiff.model.sampling.process import Process
from compodiff.model.sampling.sampler import compose
from compodiff.training.curve import (
    ONE_CALL,
    CurvePoint,
    CurveQueries,
    gather_queries,
    measure,
    take_queries_of_set,
    write_curve,
)
from compodiff.training.examples import NOTHING
from compodiff.training.fit import make_denoiser

CPU = torch.device("cpu")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    training_world.write_embeddings(tmp_path / "embeddings")
    return tmp_path / "embeddings"


def make_queries(world: Path, *, with_reference: bool) -> CurveQueries:
    """Twelve queries for a blue one, each with two answers, over every third picture of the world."""
    embeddings = SetEmbeddings.load(world)
    gallery = embeddings.images[: len(training_world.PICTURES) : 3].astype(np.float32)
    own = np.arange(12) + 5 if with_reference else np.full(12, NOTHING)
    return CurveQueries(
        texts=embeddings.read_tokens([training_world.TEXTS.index("make it blue")] * 12),
        null_text=embeddings.read_tokens([0]),
        references=gallery[own] if with_reference else gallery[:0],
        gallery=gallery,
        hits=np.array([(query, picture) for query in range(12) for picture in {query, 2 * query + 1}]),
        own=own,
    )


@pytest.mark.parametrize("with_reference", [True, False])
def test_measure_equals_a_count_picture_by_picture(world: Path, with_reference: bool) -> None:
    material, process = training_world.material(world), Process("diffusion", 1000)
    queries = make_queries(world, with_reference=with_reference)
    denoiser = make_denoiser(training_world.NETWORK, material, standardise=True, seed=4)
    gathered = gather_queries(queries, CPU)
    measured = measure(denoiser, gathered, process, seed=9)
    generator = torch.Generator().manual_seed(9)
    answers = compose(denoiser, gathered.conditions, ONE_CALL, generator, process).numpy()
    found, cosines = [], []
    for number, answer in enumerate(answers):
        score = queries.gallery @ answer / np.linalg.norm(answer) / np.linalg.norm(queries.gallery, axis=1)
        ranking = [place for place in np.argsort(-score) if place != queries.own[number]]
        targets = queries.hits[queries.hits[:, 0] == number, 1]
        found.append(any(target in ranking[:10] for target in targets))
        cosines.append(score[targets].max())
    assert measured["recall_at_10"] == pytest.approx(np.mean(found))
    assert measured["cosine"] == pytest.approx(np.mean(cosines), rel=1e-5)


def test_queries_of_a_set_are_its_validation_triplets_among_its_pictures(world: Path) -> None:
    embeddings = SetEmbeddings.load(world)
    queries = take_queries_of_set(embeddings, world / "examples", 30, seed=3)
    assert len(queries.own) == len(queries.references) == 30
    assert len(queries.gallery) == len(training_world.PICTURES), "training pictures are among what is ranked"
    images = embeddings.images.astype(np.float32)
    for query, place in queries.hits:
        reference = training_world.PICTURES[int((images == queries.references[query]).all(1).nonzero()[0][0])]
        target = training_world.PICTURES[int((images == queries.gallery[place]).all(1).nonzero()[0][0])]
        assert reference.split("-")[0] == target.split("-")[0]
        assert reference.split("-")[0] in training_world.UNSEEN_SHAPES
        assert np.array_equal(queries.gallery[queries.own[query]], queries.references[query])
    assert np.array_equal(queries.hits[:, 0], np.arange(30)), "each has one answer"


def test_captions_are_the_queries_of_a_set_of_pairs(world: Path) -> None:
    for split in ("train", "validation"):
        np.save(world / "examples" / split / "triplet.npy", np.empty((0, 4), np.int64))
    trained = np.load(world / "examples" / "train" / "text_to_image.npy")
    np.save(world / "examples" / "validation" / "text_to_image.npy", trained[:50])
    embeddings = SetEmbeddings.load(world)
    queries = take_queries_of_set(embeddings, world / "examples", 500, seed=3)
    assert len(queries.own) == 50
    assert len(queries.references) == 0
    assert (queries.own == NOTHING).all()


def test_pictures_of_equal_pixels_are_one_answer(world: Path) -> None:
    digests = np.load(world / "digests.npy")
    digests[1] = digests[0]  # two pictures of the training split
    np.save(world / "digests.npy", digests)
    queries = take_queries_of_set(SetEmbeddings.load(world), world / "examples", 30, seed=3)
    assert len(queries.gallery) == len(training_world.PICTURES) - 1


def test_a_set_without_a_validation_split_cannot_be_measured_on(world: Path) -> None:
    for task in ("triplet", "text_to_image"):
        np.save(world / "examples" / "validation" / f"{task}.npy", np.empty((0, 4), np.int64))
    with pytest.raises(InputInvalid, match="the set examples has no validation split; name another one for the curve"):
        take_queries_of_set(SetEmbeddings.load(world), world / "examples", 30, seed=3)


FILED = ("tokens", "lengths", "null_tokens"), ("tokens_2", "lengths_2", "null_tokens_2")


@pytest.mark.parametrize("text_parts", [1, 2])
def test_queries_are_read_back_as_they_were_written(world: Path, tmp_path: Path, text_parts: int) -> None:
    queries = make_queries(world, with_reference=True)
    if text_parts == 2:  # the second one's states are narrower
        both = {name: (own, TokenArrays(own.tokens[:, :5], own.lengths)) for name in ("texts", "null_text")
                for (own,) in (getattr(queries, name),)}  # fmt: skip
        queries = replace(queries, **both)
    queries.save(tmp_path / "curve.npz")
    again = CurveQueries.load(tmp_path / "curve.npz")
    for mine, other in zip(again.texts + again.null_text, queries.texts + queries.null_text, strict=True):
        for one, two in zip(mine, other, strict=True):
            np.testing.assert_array_equal(one, two)
    for name in ("references", "gallery", "hits", "own"):
        np.testing.assert_array_equal(getattr(again, name), getattr(queries, name))
    with np.load(tmp_path / "curve.npz") as arrays:
        names = [name for own in FILED[:text_parts] for name in own]
        assert arrays.files == [*names, "references", "gallery", "hits", "own"]
    (tmp_path / "curve.npz").write_bytes((tmp_path / "curve.npz").read_bytes()[:200])
    with pytest.raises(InputInvalid, match=r"curve.npz is missing or damaged .* run: dvc repro"):
        CurveQueries.load(tmp_path / "curve.npz")


def test_the_curve_file_has_one_row_a_point(tmp_path: Path) -> None:
    points = [CurvePoint(50, 0.9, 0.3, 0.1, 1e-3, 700.0), CurvePoint(100, 0.8, 0.4, 0.2, 5e-4, 710.0)]
    write_curve(tmp_path / "curve.csv", points[:1])
    write_curve(tmp_path / "curve.csv", points)
    assert (tmp_path / "curve.csv").read_text() == (
        "step,loss,cosine,recall_at_10,learning_rate,samples_per_second\n"
        "50,0.9,0.3,0.1,0.001,700.0\n100,0.8,0.4,0.2,0.0005,710.0\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["curve.csv"]
