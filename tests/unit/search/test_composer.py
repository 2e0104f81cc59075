from dataclasses import replace

import numpy as np
import pytest
import torch
from factories import draw_box_mask, draw_noise
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compodiff.embeddings.drawn_masks import compute_cells
from compodiff.embeddings.masking import blank_masked
from compodiff.errors import InputInvalid
from compodiff.model.network.context import PackedStates, PackedText
from compodiff.model.network.networks import make_network
from compodiff.model.sampling.process import Process
from compodiff.model.sampling.query import Conditions, SamplerOptions
from compodiff.model.sampling.sampler import compose
from compodiff.search.composer import Composer
from compodiff.search.query import Query


def _packed(encoder, text) -> PackedText:
    states = encoder.encode_texts([text]).states
    return PackedText(tuple(PackedStates.pack(part.tokens, part.mask) for part in states))


def test_a_query_is_sampled_under_the_conditions_it_names(composer):
    encoder, picture, mask = composer.encoder, draw_noise(0), draw_box_mask((40, 30), (0, 0, 20, 30))
    query = Query(picture, "with a hat", "blue", mask, w_image=2.0, num_inference_steps=3, seed=9)
    cells = torch.zeros(1, 64, 64, dtype=torch.bool)
    cells[:, :, :32] = True
    conditions = Conditions(
        null_text=_packed(encoder, "blue"),
        text=_packed(encoder, "with a hat"),
        image=encoder.encode_pixels(blank_masked(encoder.preprocess(picture)[None], cells)),
        mask=cells,
    )
    options = SamplerOptions.of(composer.sampling, w_image=2.0, num_inference_steps=3)
    expected = compose(
        composer.denoiser, conditions, options, [torch.Generator().manual_seed(9)], composer.card.process
    )
    torch.testing.assert_close(composer.compose([query]), expected)


QUERIES = [
    Query(draw_noise(0), "with a hat"),
    Query(None, "a red apple"),
    Query(draw_noise(1)),
    Query(draw_noise(2), "in the snow", "dogs", seed=3),
    Query(draw_noise(2), "in the snow", "dogs", draw_box_mask((80, 60), (0, 0, 30, 30))),
    Query(draw_noise(3), negative_text="dogs"),
    Query(np.linspace(-1, 1, 16, dtype=np.float32), "at night", w_text=7.5, draws=3),
]


def test_an_answer_depends_on_neither_batch_nor_neighbours(composer):
    together = composer.compose_draws(QUERIES)
    for query, draws in zip(QUERIES, together, strict=True):
        torch.testing.assert_close(draws, composer.compose_draws([query])[0], atol=2e-5, rtol=1e-4)
    assert [len(draws) for draws in together] == [2, 2, 2, 2, 2, 2, 3]


@pytest.mark.parametrize("name", ["combiner", "sum"])
def test_a_network_that_sees_no_noise_answers_the_same_queries(composer, name):
    config = replace(composer.denoiser.config, network=name)
    card = replace(composer.card, denoiser=config, process=Process.of(config, "diffusion", 1000))
    control = Composer(composer.encoder, make_network(config).eval().requires_grad_(False), card, composer.sampling)
    assert control.prepare(replace(QUERIES[0], num_inference_steps=7)).options.num_inference_steps == 1
    for draws in control.compose_draws(QUERIES):
        torch.testing.assert_close(draws, draws[:1].expand_as(draws))
        assert torch.isfinite(draws).all()


def test_the_seed_decides_the_answer(composer):
    query = QUERIES[0]
    first, again, other = composer.compose([query, replace(query, seed=composer.sampling.seed), replace(query, seed=6)])
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


@pytest.mark.parametrize(
    "changed",
    [
        {"relative_caption": "without a hat"},
        {"negative_text": "blue"},
        {"reference": draw_noise(7)},
        {"mask": draw_box_mask((40, 30), (0, 0, 20, 30))},
        {"w_image": 3.0},
        {"w_text": 0.5},
        {"num_inference_steps": 4},
        {"draws": 1},
        {"reference_mixing": 0.9},
    ],
)
def test_every_part_of_a_query_reaches_the_answer(composer, changed):
    plain, different = composer.compose([QUERIES[0], replace(QUERIES[0], **changed)])
    assert not torch.allclose(plain, different, atol=1e-3)


def test_the_answer_mixed_all_of_the_reference_is_the_reference(composer):
    picture = draw_noise(4)
    answer = composer.compose([Query(picture, "with a hat", reference_mixing=1.0)])
    torch.testing.assert_close(answer, composer.encoder.encode_images([picture]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(), "neither a reference nor a text"),
        (Query("twemoji-1F34E", "green"), "'twemoji-1F34E' is an id"),
        (Query(None, "green", mask=Image.new("L", (4, 4), 255)), "a mask needs the reference as a picture"),
        (Query(np.zeros(16, np.float32), "green", mask=Image.new("L", (4, 4), 255)), "a mask needs the ref"),
        (Query(np.zeros(3, np.float32), "green"), r"has the shape \(3,\), the encoder makes \(16,\)"),
        (Query(np.full(16, np.nan, np.float32), "green"), "NaN or infinity"),
        (Query(draw_noise(0), "green", w_text=-1.0), "w_text is -1"),
        (Query(draw_noise(0), "green", num_inference_steps=0), "num_inference_steps is 0"),
        (Query(draw_noise(0), "green", num_inference_steps=5000), "num_inference_steps is 5000"),
        (Query(draw_noise(0), "green", seed=-1), "seed is -1"),
        (Query(draw_noise(0), "green", seed=2**64), "seed is 18446744073709551616"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused(composer, query, message):
    with pytest.raises(InputInvalid, match=message):
        composer.compose([query])


@settings(max_examples=40, deadline=None)
@given(
    left=st.integers(0, 12),
    top=st.integers(0, 12),
    width=st.integers(2, 4),
    height=st.integers(2, 4),
    scale=st.integers(1, 4),
)
def test_a_painted_box_becomes_its_cells_at_any_size_of_mask(encoder, left, top, width, height, scale):
    """A reference of 16 x 16 units of 4 x 4 cells; inside and outside are exact but for a cell along the edge."""
    box = tuple(scale * 8 * edge for edge in (left, top, left + width, top + height))
    mask = draw_box_mask((128 * scale, 128 * scale), box)
    cells = compute_cells(mask, Image.new("RGB", (128, 128)), encoder)
    expected = torch.zeros(66, 66, dtype=torch.bool)
    expected[1 + 4 * top : 1 + 4 * (top + height), 1 + 4 * left : 1 + 4 * (left + width)] = True
    grown = torch.nn.functional.max_pool2d(expected[None].float(), 3, 1)[0].bool()
    shrunk = ~torch.nn.functional.max_pool2d((~expected)[None].float(), 3, 1)[0].bool()
    assert not (cells & ~grown).any()
    assert not (shrunk & ~cells).any()


def test_a_mask_of_another_shape_is_refused_and_one_scaled_is_not(encoder):
    reference = draw_noise(0)
    with pytest.raises(
        InputInvalid, match=r"the mask is 30 x 40, the reference 40 x 30; draw the mask on the reference"
    ):
        compute_cells(draw_box_mask((30, 40), (0, 0, 10, 10)), reference, encoder)
    small = compute_cells(draw_box_mask((41, 31), (0, 0, 21, 31)), reference, encoder)
    assert small[:, :30].all()
    assert not small[:, 34:].any()


@pytest.mark.parametrize("empty", [Image.new("L", (40, 30)), Image.new("RGBA", (40, 30), (255, 255, 255, 0))])
def test_a_mask_that_marks_nothing_is_refused(encoder, empty):
    with pytest.raises(InputInvalid, match="the mask marks nothing"):
        compute_cells(empty, draw_noise(0), encoder)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P"])
def test_a_mask_may_come_in_any_mode(encoder, mode):
    mask = draw_box_mask((40, 30), (0, 0, 20, 30))
    cells = compute_cells(mask.convert(mode), draw_noise(0), encoder)
    assert cells.float().mean() == pytest.approx(0.5, abs=0.02)
