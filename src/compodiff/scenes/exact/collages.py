"""Pictures of nothing, with the statistics of photographs: textured shapes that cover each other ("dead leaves").

Noise whose spectrum falls as that of photographs does, and shapes of all sizes one before the other, teach a network
much of what photographs do (Baradad et al., "Learning to See by Looking at Noise", 2021). What an edit does to them, it
does to photographs.

Shapes: S pixels of an edge, T textures.
"""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from compodiff.scenes.scene import CANVAS

_TEXTURES = 32
_SMALLEST, _LARGEST = 12, 140  # pixels of a shape's edge
_CORNERS = 5


def draw_textures(generator: Generator) -> NDArray[np.float32]:
    """Draw noise (T, S, S, 3) of mean 0 and spread 1 whose spectrum falls with the frequency; channels mostly agree."""
    frequencies = np.hypot(np.fft.fftfreq(CANVAS)[:, None], np.fft.rfftfreq(CANVAS)[None])  # (S, S/2 + 1)
    frequencies[0, 0] = 1
    textures = np.empty((_TEXTURES, CANVAS, CANVAS, 3), np.float32)
    for number in range(_TEXTURES):
        spectrum = np.fft.rfft2(generator.standard_normal((3, CANVAS, CANVAS)))
        noise = np.fft.irfft2(spectrum / frequencies ** generator.uniform(0.8, 2.0), s=(CANVAS, CANVAS))  # (3, S, S)
        noise = (noise - noise.mean((1, 2), keepdims=True)) / noise.std((1, 2), keepdims=True)
        mixed = noise.mean(0) + generator.uniform(0.1, 0.6) * noise
        textures[number] = (mixed / mixed.std()).transpose(1, 2, 0)
    return textures


def paint_collage(textures: NDArray[np.float32], sprites: Sequence[Image.Image], generator: Generator) -> Image.Image:
    """Paint shapes of drawn textures, colours and sizes, and `sprites` among them, over each other: RGB, S x S."""
    canvas = _paint_texture(textures, generator)
    shapes = int(generator.integers(4, 25))
    for number in range(shapes):
        mask = _draw_shape(generator)
        canvas.paste(_paint_texture(textures, generator), (0, 0), mask)
        if number >= shapes - len(sprites):
            sprite = sprites[shapes - 1 - number]
            left, top = generator.integers(-20, CANVAS - sprite.width + 20, 2).tolist()
            canvas.paste(sprite, (left, top), sprite)
    return canvas


def _paint_texture(textures: NDArray[np.float32], generator: Generator) -> Image.Image:
    texture = textures[generator.integers(len(textures))]
    colour, contrast = generator.uniform(30, 225, 3), generator.uniform(5, 50)
    values = np.clip(texture * np.float32(contrast) + colour.astype(np.float32), 0, 255)
    return Image.fromarray(values.astype(np.uint8))


def _draw_shape(generator: Generator) -> Image.Image:
    """Draw an ellipse, a rectangle or a polygon as a mask; small ones are frequent, as they are in photographs."""
    size = float(np.clip(20 * generator.random() ** -0.7, _SMALLEST, _LARGEST))
    left, top = (float(value) for value in generator.uniform(-size / 2, CANVAS - size / 2, 2))
    box = (left, top, left + size, top + size * float(generator.uniform(0.3, 1.8)))
    mask = Image.new("L", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(mask)
    kind = int(generator.integers(3))
    if kind == 0:
        draw.ellipse(box, fill=255)
    elif kind == 1:
        draw.rectangle(box, fill=255)
    else:
        draw.polygon([(left + x * size, top + y * size) for x, y in generator.random((_CORNERS, 2)).tolist()], fill=255)
    return mask
