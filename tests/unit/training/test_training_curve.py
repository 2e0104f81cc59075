"""The curve: its figures against a brute-force count, and its file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from worlds import training as training_world

from compodiff.embeddings import Embeddings
from compodiff.errors import InputInvalid
from compodiff.model.sampling.process import Process
from compodiff.model.sampling.sampler import compose
from compodiff.training.curve import ONE_CALL, CurvePoint, ValidationQuery, gather_queries, measure, write_curve
from compodiff.training.fit import make_denoiser

CPU = torch.device("cpu")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    training_world.write_embeddings(tmp_path / "embeddings")
    return tmp_path / "embeddings"


@pytest.mark.parametrize("with_reference", [True, False])
def test_measure_equals_a_count_picture_by_picture(world: Path, with_reference: bool) -> None:
    material = training_world.material(world)
    embeddings, gallery, process = material.embeddings, material.gallery[::3], Process("diffusion", 1000)
    queries = [
        ValidationQuery("make it blue", (gallery[number], gallery[2 * number + 1]), gallery[number + 5])
        if with_reference
        else ValidationQuery("make it blue", (gallery[number],))
        for number in range(12)
    ]
    denoiser = make_denoiser(training_world.NETWORK, material, standardise=True, seed=4)
    gathered = gather_queries(embeddings, queries, gallery, CPU)
    measured = measure(denoiser, gathered, process, seed=9)
    generator = torch.Generator().manual_seed(9)
    answers = compose(denoiser, gathered.conditions, ONE_CALL, generator, process).numpy()
    found, cosines = [], []
    for answer, query in zip(answers, queries, strict=True):
        score = {}
        for picture in gallery:
            embedding = embeddings.pictures[embeddings.picture_row[picture]]
            score[picture] = float(answer @ embedding / np.linalg.norm(answer) / np.linalg.norm(embedding))
        ranking = sorted((picture for picture in gallery if picture != query.reference), key=lambda each: -score[each])
        found.append(any(target in ranking[:10] for target in query.targets))
        cosines.append(max(score[target] for target in query.targets))
    assert measured["recall_at_10"] == pytest.approx(np.mean(found))
    assert measured["cosine"] == pytest.approx(np.mean(cosines), rel=1e-5)


def test_a_query_of_an_unknown_picture_or_text_is_named(world: Path) -> None:
    embeddings = Embeddings.load(world)
    gallery = list(embeddings.picture_row)
    for query in (ValidationQuery("make it pink", (gallery[0],)), ValidationQuery("make it blue", ("pink-1",))):
        with pytest.raises(InputInvalid, match=r"pink.*not embedded or not in the gallery"):
            gather_queries(embeddings, [query], gallery, CPU)
    with pytest.raises(InputInvalid, match="no validation query"):
        gather_queries(embeddings, [], gallery, CPU)


def test_the_curve_file_has_one_row_a_point(tmp_path: Path) -> None:
    points = [CurvePoint(50, 0.9, 0.3, 0.1, 1e-3, 700.0), CurvePoint(100, 0.8, 0.4, 0.2, 5e-4, 710.0)]
    write_curve(tmp_path / "curve.csv", points[:1])
    write_curve(tmp_path / "curve.csv", points)
    assert (tmp_path / "curve.csv").read_text() == (
        "step,loss,cosine,recall_at_10,learning_rate,samples_per_second\n"
        "50,0.9,0.3,0.1,0.001,700.0\n100,0.8,0.4,0.2,0.0005,710.0\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["curve.csv"]
