"""A model's answers to a benchmark: how several draws become one ranking."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from worlds.benchmark import SAMPLING, make_world

from compodiff.benchmarks.answers import QueryArrays, RetrievalModel, read_gallery_vectors
from compodiff.benchmarks.datasets.own import load_triplets
from compodiff.benchmarks.scoring.ranking import normalise, score_candidates
from compodiff.embeddings import Embeddings
from compodiff.errors import InputInvalid
from compodiff.language.wishes import list_wished
from compodiff.model.checkpoint import load_model
from compodiff.model.network.context import PackedText
from compodiff.model.network.denoiser import Denoiser
from compodiff.model.sampling.query import Conditions, SamplerOptions
from compodiff.model.sampling.sampler import compose_draws
from compodiff.params import ClassSamplingParams

DRAWS = 3


@pytest.fixture(scope="module")
def asked_and_model(tmp_path_factory, tiny_encoder):
    """The test queries, and a network of random weights whose answers depend on its noise."""
    world = make_world(tmp_path_factory.mktemp("world"), tiny_encoder)
    _, card = load_model(world.composed)
    card = replace(card, denoiser=replace(card.denoiser, residual=False))
    with torch.random.fork_rng():
        torch.manual_seed(2)
        denoiser = Denoiser(card.denoiser)
    embeddings = Embeddings.load(world.embeddings)
    sampling = SAMPLING.model_copy(
        update={"solver": "ddim", "eta": 1.0, "num_inference_steps": 3, "w_text": 1.0, "draws": DRAWS}
    )
    asked = QueryArrays.of(load_triplets(world.benchmark, "test")[0], embeddings)
    return asked, RetrievalModel(denoiser.eval(), card, sampling)


def drawn(asked, model):
    """The draws (Q, S, D) of each query by itself."""
    seeds = torch.Generator().manual_seed(model.sampling.seed)
    texts = asked.embeddings
    answers = []
    for reference, text in zip(asked.references, asked.text, strict=True):
        null, words = (PackedText.of_arrays(texts.read_tokens([row])).convert(torch.Tensor.float) for row in (0, text))
        conditions = Conditions(null, words, torch.tensor(reference)[None])
        own = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=seeds)))
        options = SamplerOptions.of(model.sampling)
        answers.append(compose_draws(model.denoiser, conditions, options, [own], model.card.process)[0].numpy())
    return np.stack(answers)


@pytest.mark.parametrize("fusion", ["average", "mean_score", "max_score"])
def test_pictures_are_scored_by_the_fusion_of_the_draws(asked_and_model, fusion):
    asked, model = asked_and_model
    gallery = normalise(read_gallery_vectors(asked.embeddings).embeddings, np.float64)
    draws = drawn(asked, model)
    cosines = normalise(draws, np.float64) @ gallery.T
    expected = {
        "average": normalise(draws.mean(1), np.float64) @ gallery.T,
        "mean_score": cosines.mean(1),
        "max_score": cosines.max(1),
    }
    answers = model.sample_with(model.sampling.model_copy(update={"fusion": fusion})).answer(asked, fusion)
    everything = np.tile(np.arange(len(gallery)), (len(draws), 1))
    scores = score_candidates(answers, gallery, everything)
    if fusion == "mean_score":  # but for a factor of the query
        scores *= np.linalg.norm(normalise(draws, np.float64).mean(1), axis=1, keepdims=True)
    np.testing.assert_allclose(scores, expected[fusion], atol=1e-5)
    others = [values for name, values in expected.items() if name != fusion]
    assert all(np.abs(scores - values).max() > 1e-3 for values in others)


def test_several_references_are_asked_by_their_mean(asked_and_model, tmp_path):
    asked, _ = asked_and_model
    embeddings = asked.embeddings
    query = {"reference": "bar-red", "references": ["bar-blue"], "relative_caption": "another shape"}
    (tmp_path / "queries.jsonl").write_text(json.dumps(query | {"target": "ring-red"}))
    both = QueryArrays.of(load_triplets(tmp_path, "test")[0], embeddings)
    rows = [embeddings.picture_row[name] for name in ("bar-red", "bar-blue")]
    np.testing.assert_allclose(both.references[0], embeddings.pictures[rows].mean(axis=0), rtol=1e-3)


def test_a_negative_text_changes_the_answer(asked_and_model, tmp_path):
    asked, model = asked_and_model
    guided = model.sample_with(model.sampling.model_copy(update={"w_text": 3.0, "draws": 1}))
    query = {"reference": "bar-red", "relative_caption": "another shape", "target": "ring-red"}
    answers = []
    for more in ({}, {}, {"negative": "make it gold"}):
        (tmp_path / "queries.jsonl").write_text(json.dumps(query | more))
        part = QueryArrays.of(load_triplets(tmp_path, "test")[0], asked.embeddings)
        answers.append(guided.answer(part, "negative").parts[0])
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.allclose(answers[0], answers[2], atol=1e-4)


def test_a_caption_is_asked_by_what_it_wants(asked_and_model, tmp_path):
    """Where pictures are unlike all that was learned, an answer is the embedding of what the caption wants."""
    asked, model = asked_and_model
    caption = "replace the bar with a ring"
    query = {"reference": "bar-red", "relative_caption": caption, "target": "ring-red"}
    (tmp_path / "queries.jsonl").write_text(json.dumps(query))
    (part,) = load_triplets(tmp_path, "test")
    own = asked.embeddings.encoder
    encoder = replace(own, picture=replace(own.picture, class_dimensions=own.embedding_dim // 4))
    embeddings = replace(asked.embeddings, encoder=encoder, text_row={"": 0, caption: 1})
    with pytest.raises(InputInvalid, match=r"of triplets test has no embedding; run: dvc repro embed_benchmark"):
        QueryArrays.of(part, embeddings)
    rows = {text: row for row, text in enumerate(["", caption, *sorted(list_wished([caption]))])}
    shape = replace(model.card.denoiser, embedding_dim=encoder.learned_dim)
    unlike = ClassSamplingParams(unlike=1e-6, blur=1e-9, named=1e-9, kept=0.0)
    answering = replace(
        model, denoiser=Denoiser(shape).eval(), sampling=model.sampling.model_copy(update={"classes": unlike})
    )
    (answer,) = answering.answer(QueryArrays.of(part, replace(embeddings, text_row=rows)), "asked").parts[0]
    wanted = normalise(embeddings.texts_pooled[[rows["a ring"]]], np.float64)[0]
    np.testing.assert_allclose(answer, wanted, atol=1e-6)
