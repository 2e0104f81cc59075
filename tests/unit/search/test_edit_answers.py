"""Queries that ask for an edit of the whole picture, and all others, by an encoder that knows such edits."""

from dataclasses import replace

import pytest
import torch
from factories import draw_box_mask, draw_noise
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compodiff.encoders import Encoder
from compodiff.encoders.edit_maps import OTHER
from compodiff.search.composer import Composer
from compodiff.search.query import Blend, Query

PICTURE = draw_noise(0)


def make_composer(composer: Composer, encoder: Encoder) -> Composer:
    """Return the composer with another encoder, and without a share of the reference in the answer.

    It has met no text yet: bits depend on which texts were encoded together.
    """
    sampling = composer.sampling.model_copy(update={"reference_mixing": 0.0})
    return Composer(encoder, composer.denoiser, composer.card, sampling)


@pytest.fixture
def knowing(composer: Composer, encoder_with_edits: Encoder) -> Composer:
    return make_composer(composer, encoder_with_edits)


def embed(composer: Composer, *pictures: Image.Image) -> torch.Tensor:
    """Return the mean embedding of pictures, (D,)."""
    return composer.encoder.encode_images(pictures).mean(0)


def test_an_edit_is_answered_by_what_it_does_to_the_reference(knowing: Composer) -> None:
    own = embed(knowing, PICTURE)
    darker = Query(PICTURE, "darker", w_image=1.0, w_text=1.0)
    queries = [replace(darker, relative_caption="mirrored"), darker, replace(darker, w_text=2.0)]
    mirrored, dark, twice = knowing.compose(queries)
    torch.testing.assert_close(mirrored, -own, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(dark, own / 2, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(twice, torch.zeros_like(own), atol=1e-5, rtol=0)


def test_several_references_are_edited_by_their_mean(knowing: Composer) -> None:
    both = PICTURE, draw_noise(1)
    (made,) = knowing.compose([Query(Blend(both, (1.0, 1.0)), "darker", w_image=1.0, w_text=1.0)])
    torch.testing.assert_close(made, embed(knowing, *both) / 2, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "query",
    [
        Query(PICTURE, "with a dog"),
        Query(PICTURE, "darker", negative_text="dogs"),
        Query(PICTURE, "darker", mask=draw_box_mask((PICTURE.width, PICTURE.height), (0, 0, 20, 20))),
        Query(None, "darker"),
        Query(PICTURE),
        Query(PICTURE, "darker", mode="image"),
    ],
    ids=["another text", "negative text", "mask", "no reference", "no text", "mode image"],
)
def test_what_asks_for_more_than_an_edit_is_answered_as_before(composer: Composer, knowing: Composer, query) -> None:
    plain = make_composer(composer, composer.encoder)
    assert torch.equal(plain.compose([query]), knowing.compose([query]))


@settings(max_examples=15, deadline=None)
@given(st.text(st.characters(codec="ascii", categories=["L", "Zs"]), max_size=12))
def test_any_text_that_is_no_edit_changes_no_bit(composer: Composer, encoder_with_edits: Encoder, text: str) -> None:
    plain, knowing = (make_composer(composer, each) for each in (composer.encoder, encoder_with_edits))
    edits, _ = encoder_with_edits.edits.recognise(encoder_with_edits.embed_texts([text], "a test"))
    query = Query(PICTURE, text)
    assert torch.equal(plain.compose([query]), knowing.compose([query])) or edits.item() != OTHER
