"""How a picture looks, and whether two look the same: resaved, smaller, larger or in another format, but not edited.

Two pictures look the same if their colours agree in every coarse cell and their detail agrees in every block of a fine
grey grid. Pages of text have equal colours; their detail, and so which words stand where, tells them apart. How both
rules and their numbers were chosen: docs/decisions/0008-near-duplicates.md.

Shapes: P pairs, N and M pictures, L bytes of a look.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Looks = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_CELLS, _SPOTS = 16, 4  # coarse cells a side; every fourth down and across is looked at first
_FINE, _BLOCK = 64, 8  # fine cells a side, and fine cells a side of a block
_COLOURS = _CELLS * _CELLS * 3
LOOK_SHAPE = (_COLOURS + _FINE * _FINE,)

_SAME_COLOUR = 24  # of 255: compression and another size change a coarse cell by less
_SAME_DETAIL = 0.5  # of 1: structural similarity of two blocks
# Detail is what is left of a block's grey values without their mean, and without the mean of each row: lines of other
# words have the same rows. The second number is the variance that is no detail, as compressed plain areas have it.
_WITHOUT_MEAN, _WITHOUT_ROWS = ((2, 3), 30.0), ((3,), 20.0)
_FIRST_BLOCKS = (18, 21, 42, 45)  # of 8 x 8: well inside, where pages have their text
_AT_ONCE = 4096  # pairs


def compute_look(picture: Image.Image) -> Looks:
    """Return how a picture looks, (L,): 16 x 16 cells of colour, then 64 x 64 of grey."""
    rgba = picture.convert("RGBA")
    opaque = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    colours = opaque.resize((_CELLS, _CELLS), Image.Resampling.BOX)
    greys = opaque.convert("L").resize((_FINE, _FINE), Image.Resampling.BILINEAR)
    return np.concatenate([np.asarray(colours, np.uint8).ravel(), np.asarray(greys, np.uint8).ravel()])


def look_the_same(ones: Looks, others: Looks, pairs: NDArray[np.int64]) -> Mask:
    """Return of each pair, (P,), whether both look the same.

    ones: (N, L); others: (M, L); pairs: (P, 2), rows of `ones` and of `others`.
    """
    same = np.ones(len(pairs), np.bool_)
    for start in range(0, len(pairs), _AT_ONCE):
        some = np.arange(start, min(start + _AT_ONCE, len(pairs)))
        for fits in (_compare_spots, _compare_colours, _compare_details):
            fitting = fits(ones[pairs[some, 0]], others[pairs[some, 1]])
            same[some[~fitting]] = False
            some = some[fitting]
    return same


def may_look_the_same(ones: Looks, others: Looks) -> Mask:
    """Return of every two pictures, (N, M), whether `look_the_same` has to be asked. ones: (N, L); others: (M, L).

    Only some blocks are compared: quick, and never wrong where it says no.
    """
    may = np.ones((len(ones), len(others)), np.bool_)
    axes, noise = _WITHOUT_ROWS
    for block in _FIRST_BLOCKS:
        one, other = (_remove_mean(_split_blocks(looks)[:, [block]], axes) for looks in (ones, others))
        shared = one.reshape(-1, _BLOCK**2) @ other.reshape(-1, _BLOCK**2).T / _BLOCK**2
        total = _compute_variance(one) + _compute_variance(other).T
        may &= 2 * shared + noise >= _SAME_DETAIL * (total + noise) - 1e-3  # rounding may not say no
    return may


def _compare_spots(ones: Looks, others: Looks) -> Mask:
    return _are_near(_select_colours(ones)[:, ::_SPOTS, ::_SPOTS], _select_colours(others)[:, ::_SPOTS, ::_SPOTS])


def _compare_colours(ones: Looks, others: Looks) -> Mask:
    return _are_near(_select_colours(ones), _select_colours(others))


def _are_near(ones: Looks, others: Looks) -> Mask:
    apart = np.maximum(ones, others) - np.minimum(ones, others)
    fits: Mask = apart.max(axis=(1, 2, 3), initial=0) <= _SAME_COLOUR
    return fits


def _compare_details(ones: Looks, others: Looks) -> Mask:
    """Return whether all blocks are similar: by the contrast and structure of Wang et al. 2004 (SSIM)."""
    fits = np.ones(len(ones), np.bool_)
    for axes, noise in (_WITHOUT_MEAN, _WITHOUT_ROWS):
        one, other = _remove_mean(_split_blocks(ones), axes), _remove_mean(_split_blocks(others), axes)
        shared = (one * other).mean(axis=(2, 3))
        similar = (2 * shared + noise) / (_compute_variance(one) + _compute_variance(other) + noise)
        fits &= similar.min(axis=1, initial=1) >= _SAME_DETAIL
    return fits


def _split_blocks(looks: Looks) -> Looks:
    """Return grey values by block, (N, 64, 8, 8)."""
    side = _FINE // _BLOCK
    greys = looks[:, _COLOURS:].reshape(-1, side, _BLOCK, side, _BLOCK).transpose(0, 1, 3, 2, 4)
    return greys.reshape(-1, side * side, _BLOCK, _BLOCK)


def _remove_mean(blocks: Looks, axes: tuple[int, ...]) -> NDArray[np.float32]:
    """Return blocks (N, B, 8, 8) without their mean over some axes."""
    values = blocks.astype(np.float32)
    values -= values.mean(axis=axes, keepdims=True)
    return values


def _compute_variance(detail: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the variance (N, B) of detail (N, B, 8, 8)."""
    variance: NDArray[np.float32] = np.square(detail).mean(axis=(2, 3))
    return variance


def _select_colours(looks: Looks) -> Looks:
    return looks[:, :_COLOURS].reshape(-1, _CELLS, _CELLS, 3)
