"""What looks the same: a picture saved again or resized; and what does not: other pages, slides, frames, drawings."""

import io
import random
from itertools import combinations

import numpy as np
import pytest
from factories import encode_picture
from PIL import Image, ImageDraw, ImageFont

from compodiff.images.looks import compute_look, look_the_same, may_look_the_same

WORDS = ["time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "student"]
FONT = ImageFont.load_default(20)


def _sentence(random_: random.Random, words: int) -> str:
    return " ".join(random_.choice(WORDS) for _ in range(words))


def page(seed: int) -> Image.Image:
    """A full page of text between the margins that all pages have."""
    words, picture = random.Random(seed), Image.new("RGB", (850, 1100), "white")
    draw = ImageDraw.Draw(picture)
    for y in range(80, 1000, 28):
        draw.text((80, y), _sentence(words, 12), "black", FONT)
        draw.rectangle((770, y, 850, y + 28), "white")
    return picture


def slide(seed: int) -> Image.Image:
    words, picture = random.Random(seed), Image.new("RGB", (960, 540), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 960, 70), "navy")
    for number in range(4):
        draw.text((60, 120 + 90 * number), _sentence(words, 8), "black", FONT)
    return picture


def drawing(seed: int) -> Image.Image:
    points, picture = random.Random(seed), Image.new("RGB", (400, 400), "white")
    for _ in range(8):
        line = [(points.randint(20, 380), points.randint(20, 380)) for _ in range(4)]
        ImageDraw.Draw(picture).line(line, "black", 3)
    return picture


def frame(number: int) -> Image.Image:
    """A landscape over which the sun moves by more than its own size a frame."""
    smooth = np.random.default_rng(7).integers(80, 176, (12, 16, 3), dtype=np.uint8)
    picture = Image.fromarray(smooth).resize((640, 480), Image.Resampling.BICUBIC)
    ImageDraw.Draw(picture).ellipse((20 + 48 * number, 40, 60 + 48 * number, 80), (250, 240, 180))
    return picture


def photograph(seed: int) -> Image.Image:
    generator = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(generator.integers(50, 206, (side, side, 3), dtype=np.uint8)).resize((400, 300)), np.float32
        )
        for side in (4, 16, 64)
    ]
    return Image.fromarray((layers[0] * 0.6 + layers[1] * 0.3 + layers[2] * 0.1).astype(np.uint8))


KINDS = {"page": page, "slide": slide, "drawing": drawing, "frame": frame, "photograph": photograph}


def _saved(picture: Image.Image, form: str, **options: object) -> Image.Image:
    return Image.open(io.BytesIO(encode_picture(picture, form, **options))).convert("RGB")


def _scaled(picture: Image.Image, factor: float) -> Image.Image:
    return picture.resize((int(picture.width * factor), int(picture.height * factor)), Image.Resampling.LANCZOS)


COPIES = {
    "png": lambda it: _saved(it, "PNG"),
    "gif": lambda it: _saved(it, "GIF"),
    "webp": lambda it: _saved(it, "WEBP", quality=60),
    "jpeg 30": lambda it: _saved(it, "JPEG", quality=30),
    "jpeg 90": lambda it: _saved(it, "JPEG", quality=90),
    "half": lambda it: _scaled(it, 0.5),
    "half, jpeg 75": lambda it: _saved(_scaled(it, 0.5), "JPEG", quality=75),
    "twice": lambda it: _scaled(it, 2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_different_pictures_of_a_kind_do_not_look_the_same(kind):
    looks = np.stack([compute_look(KINDS[kind](number)) for number in range(12)])
    pairs = np.array(list(combinations(range(12), 2)))
    assert not look_the_same(looks, looks, pairs).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_looks_the_same(kind, copied):
    originals = [KINDS[kind](number) for number in range(3)]
    looks = np.stack([compute_look(it) for it in originals])
    copies = np.stack([compute_look(COPIES[copied](it)) for it in originals])
    each = np.arange(3)[:, None].repeat(2, axis=1)
    assert look_the_same(looks, copies, each).all()
    assert may_look_the_same(looks, copies)[np.arange(3), np.arange(3)].all()


def test_the_quick_look_is_never_wrong_where_it_says_no():
    originals = [made(number) for made in KINDS.values() for number in range(4)]
    looks = np.stack([compute_look(it) for it in (*originals, *(COPIES["half, jpeg 75"](it) for it in originals))])
    pairs = np.array(list(np.ndindex(len(looks), len(looks))))
    same = look_the_same(looks, looks, pairs).reshape(len(looks), -1)
    may = may_look_the_same(looks, looks)
    assert (may | ~same).all()
    assert not may.all()


def test_transparency_is_seen_on_white():
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    np.testing.assert_array_equal(compute_look(picture), compute_look(Image.new("RGB", (64, 64), "white")))
