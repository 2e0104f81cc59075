"""Encoders on a GPU: what they make there is what they make on the processor, as near as half the precision is."""

from pathlib import Path

import pytest
from factories import draw_noise
from torch import Tensor
from torch.nn import functional

from compodiff.precision import choose_device

pytestmark = pytest.mark.gpu
TEXTS = ["a cat", "the same picture, but the dog is red"]


def compare(one: Tensor, other: Tensor) -> float:
    return float(functional.cosine_similarity(one.float().cpu(), other.float().cpu(), dim=-1).min())


def test_open_clip_makes_on_a_gpu_what_it_makes_on_the_processor(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    from worlds.tiny_clip import make_open_clip_encoder

    encoder = make_open_clip_encoder(tmp_path)
    pictures = [draw_noise(number, 40, 40) for number in range(3)]
    before = encoder.encode_images(pictures), encoder.embed_texts(TEXTS, "this test")
    encoder.move_to_gpu()
    assert encoder.device.type == choose_device().type
    after = encoder.encode_images(pictures), encoder.embed_texts(TEXTS, "this test")
    assert all(compare(one, other) > 0.999 for one, other in zip(before, after, strict=True))


def test_a_clip_and_a_t5_compute_on_a_gpu_in_what_agrees_with_float32(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    from worlds.clip_and_t5 import make_encoder_of_parts

    encoder = make_encoder_of_parts(tmp_path)
    before = encoder.encode_texts(TEXTS).states
    after = encoder.move_to_gpu().encode_texts(TEXTS).states
    for one, other in zip(before, after, strict=True):
        assert compare(one.tokens[one.mask], other.tokens[other.mask]) > 0.99
