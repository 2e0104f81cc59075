from types import SimpleNamespace

import numpy as np
import pytest
import torch
from factories import make_embedded_encoder_params
from torch import Tensor, nn
from torch.nn import functional

from compodiff.encoder_training.class_dimensions import Described, add_class_dimensions
from compodiff.encoder_training.projections import ProjectionExamples
from compodiff.params import NamedClassesParams

CLASSES, HEAD, OTHERS, WORDS, PICTURES = 12, 20, 5, 16, 60
PARAMS = NamedClassesParams(
    dimensions=11,
    vocabulary="imagenet-1k",
    name_share=0.3,
    temperature=0.05,
    class_temperature=0.02,
    picture_length=0.5,
    text_weight=4.0,
    least_spread=0.03,
)
World = tuple[SimpleNamespace, ProjectionExamples, Tensor, Tensor]


@pytest.fixture
def world() -> World:
    """A model of random projections, pictures of other values and a head, a classifier, and what its classes are."""
    generator = torch.Generator().manual_seed(5)
    classifier = torch.randn(CLASSES, HEAD, generator=generator)
    descriptions = functional.normalize(torch.randn(CLASSES, WORDS, generator=generator), dim=1)
    maps = torch.randn(PICTURES, OTHERS + HEAD, generator=generator) + 3
    states = torch.randn(PICTURES, WORDS, generator=generator)
    model = SimpleNamespace(
        visual=SimpleNamespace(classes=None),
        text=SimpleNamespace(proj=nn.Linear(WORDS, 8).requires_grad_(False)),
    )
    captions = np.arange(PICTURES)[:, None]
    widths = {"pixels": OTHERS, "head": HEAD}
    examples = ProjectionExamples(maps, widths, states, captions, [str(row) for row in range(PICTURES)])
    return model, examples, classifier, descriptions


def describe(descriptions: Tensor) -> Described:
    """Describe things that are the classes themselves; nothing else is a text's."""
    return Described(descriptions, descriptions, descriptions, torch.empty(0, WORDS))


def test_a_text_finds_the_picture_of_the_class_that_it_names(world: World) -> None:
    model, examples, classifier, descriptions = world
    add_class_dimensions(model, examples, classifier, describe(descriptions), PARAMS)
    shows = examples.maps[:, OTHERS:].mean(dim=0) + classifier
    pictures = functional.normalize(model.visual.classes(shows), dim=1)
    found = (functional.normalize(model.text.proj(descriptions)[:, 8:], dim=1) @ pictures.T).argmax(dim=1)
    assert found.tolist() == list(range(CLASSES))


def test_what_was_learned_of_texts_stays_as_it_is(world: World) -> None:
    model, examples, classifier, descriptions = world
    texts = model.text.proj(examples.states)
    add_class_dimensions(model, examples, classifier, describe(descriptions), PARAMS)
    extended = model.text.proj(examples.states)
    assert extended.shape == (PICTURES, 8 + 11)
    assert torch.equal(extended[:, :8], texts)


def test_the_dimensions_have_the_lengths_that_params_name(world: World) -> None:
    model, examples, classifier, descriptions = world
    add_class_dimensions(model, examples, classifier, describe(descriptions), PARAMS)
    pictures = model.visual.classes(examples.maps[:, OTHERS:])
    assert pictures.norm(dim=1).mean() == pytest.approx(0.5, rel=1e-4)
    assert pictures.mean(dim=0).norm() < 1e-3  # told from the mean picture
    texts = model.text.proj(descriptions)
    named = texts[:, 8:].norm(dim=1) / texts[:, :8].norm(dim=1)
    assert named.mean() == pytest.approx(4, rel=0.15)  # along directions of different spreads


def test_train_pictures_have_like_spread_in_all_directions(world: World) -> None:
    model, examples, classifier, descriptions = world
    even = PARAMS.model_copy(update={"least_spread": 1e-6})
    add_class_dimensions(model, examples, classifier, describe(descriptions), even)
    pictures = model.visual.classes(examples.maps[:, OTHERS:])
    spread = torch.linalg.eigvalsh(torch.cov(pictures.T)).sqrt()
    assert spread.max() / spread.min() == pytest.approx(1, abs=1e-2)


def test_a_text_that_names_no_class_is_found_by_what_was_learned(world: World) -> None:
    model, examples, classifier, descriptions = world
    basis = torch.linalg.svd(descriptions).Vh
    aside = basis[CLASSES:]  # at right angles to all descriptions
    add_class_dimensions(model, examples, classifier, describe(descriptions), PARAMS)
    assert model.text.proj(aside)[:, 8:].norm(dim=1).max() < 1e-4


def test_a_thing_that_is_no_class_is_found_by_what_its_description_is_near_to(world: World) -> None:
    model, examples, classifier, descriptions = world
    aside = torch.linalg.svd(descriptions).Vh[CLASSES:]  # at right angles to all descriptions
    thing = functional.normalize(0.3 * aside[:1] + 0.3 * descriptions[4:5], dim=1)
    things = torch.cat([descriptions, thing])
    described = Described(descriptions, things, things, aside[1:2])
    add_class_dimensions(model, examples, classifier, described, PARAMS)
    shows = examples.maps[:, OTHERS:].mean(dim=0) + classifier
    words = functional.normalize(thing + 0.4 * descriptions[7:8], dim=1)  # that are also like another class's
    found = model.text.proj(words)[:, 8:] @ model.visual.classes(shows).T
    assert found.argmax() == 4
    assert model.text.proj(aside[1:2])[:, 8:].norm() < 1e-4


@pytest.mark.parametrize("head", [None, {"grid": 2, "dimensions": 12}])
def test_classes_are_refused_without_their_map(head: dict[str, int] | None) -> None:
    maps = {"stride_8": {"grid": 2, "dimensions": 12}} | ({"head": head} if head else {})
    with pytest.raises(ValueError, match="map head at grid 1"):
        make_embedded_encoder_params(maps=maps, classes=PARAMS.model_dump())
