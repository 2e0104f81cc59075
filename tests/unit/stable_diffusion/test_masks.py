from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories import draw_noise
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from worlds.tiny_networks import clipseg

from compodiff.embeddings.drawn_masks import compute_cells
from compodiff.encoders import Encoder
from compodiff.errors import InputInvalid, ResourceUnavailable
from compodiff.images.mask_cells import find_box_cells, find_mask_cells
from compodiff.pairs.pair import CaptionPair, PicturePair
from compodiff.params import MaskParams
from compodiff.stable_diffusion.clipseg import ClipSegMasks, MaskedGenerator, choose_mask_phrase


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    return str(clipseg(tmp_path_factory.mktemp("clipseg")))


def params(folder: str, **changed: Any) -> MaskParams:
    usual = {"clipseg": folder, "revision": None, "threshold": 0.5, "batch_size": 8}
    return MaskParams.model_validate(usual | changed)


def finder(folder: str, **changed: Any) -> ClipSegMasks:
    return ClipSegMasks.load(params(folder, **changed))


def pictures(number: int = 3, size: tuple[int, int] = (48, 48)) -> list[Image.Image]:
    return [draw_noise(17 + place, *size) for place in range(number)]


def middle(folder: str, picture: Image.Image, noun: str) -> float:
    """A threshold that masks some cells of a picture, not all."""
    low, high, loaded = 0.0, 1.0, finder(folder)
    for _ in range(30):
        threshold = (low + high) / 2
        made = ClipSegMasks(loaded._network, loaded._processor, params(folder, threshold=threshold))
        (cells,) = made.find_cells([picture], [noun], "squash")
        low, high = (threshold, high) if cells.mean() > 0.5 else (low, threshold)
    return threshold


def test_clipseg_masks_the_cells_whose_mean_probability_passes_the_threshold(folder):
    (picture,) = pictures(1, (64, 64))
    made = finder(folder)
    inputs = made._processor(text=["dog"], images=[picture], return_tensors="pt")
    with torch.inference_mode():
        logits = made._network(**inputs).logits.reshape(1, 1, 32, 32)
    # A cell is a pixel here, so what is compared with the threshold is the enlarged map itself.
    whole = torch.nn.functional.interpolate(logits.sigmoid(), size=(64, 64), mode="bilinear")[0, 0]
    threshold = float(whole.median())
    (cells,) = finder(folder, threshold=threshold).find_cells([picture], ["dog"], "shortest")
    assert cells.shape == (64, 64)
    assert cells.dtype == np.bool_
    np.testing.assert_array_equal(cells, whole.numpy() > threshold)
    assert 0.3 < cells.mean() < 0.7


def test_the_noun_decides_and_the_batch_does_not(folder):
    three = pictures()
    threshold = middle(folder, three[0], "dog")
    nouns = ["dog", "bicycle", "a very long description of a cat"]
    one_by_one = list(finder(folder, threshold=threshold, batch_size=1).find_cells(three, nouns, "shortest"))
    together = list(finder(folder, threshold=threshold, batch_size=2).find_cells(three, nouns, "shortest"))
    for alone, batched in zip(one_by_one, together, strict=True):
        assert (alone != batched).mean() < 0.01  # padding a text changes the last bits
    (dog,), (other,) = (
        finder(folder, threshold=threshold).find_cells(three[:1], [noun], "squash") for noun in ("dog", "bicycle")
    )
    assert (dog != other).any()


def test_a_noun_that_is_not_found_masks_nothing(folder):
    for cells in finder(folder, threshold=0.999999).find_cells(pictures(), ["dog"] * 3, "shortest"):
        assert not cells.any()


@pytest.mark.parametrize("size", [(256, 256), (384, 256), (256, 384)])
def test_an_exact_mask_covers_the_cells_that_a_drawn_one_covers_in_a_query(tiny_encoder: Encoder, size):
    generator = np.random.default_rng(3)
    blocks = generator.random((size[1] // 32, size[0] // 32)) > 0.5
    mask = np.kron(blocks, np.ones((32, 32), dtype=bool))
    drawn = compute_cells(Image.fromarray((255 * mask).astype(np.uint8)), Image.new("RGB", size), tiny_encoder)
    ours = find_mask_cells(mask, tiny_encoder.manifest.picture.resize_mode)
    # The encoder's 32 pixels blur the edges of blocks.
    assert (ours != drawn.numpy()).mean() < 0.05


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_a_box_covers_the_cells_within_it(data):
    width, height = (64 * data.draw(st.integers(1, 3)) for _ in range(2))
    left, upper = data.draw(st.integers(0, 63)), data.draw(st.integers(0, 63))
    right, lower = data.draw(st.integers(left + 1, 64)), data.draw(st.integers(upper + 1, 64))
    across, down = width // 64, height // 64
    box = (left * across, upper * down, right * across, lower * down)
    expected = np.zeros((64, 64), dtype=bool)
    expected[upper:lower, left:right] = True
    np.testing.assert_array_equal(find_box_cells(box, (width, height), "squash"), expected)


def test_what_the_encoder_crops_is_not_in_the_mask():
    left_edge = find_box_cells((0, 0, 32, 64), (128, 64), "shortest")
    assert not left_edge.any()
    assert find_box_cells((32, 0, 64, 64), (128, 64), "shortest")[:, :32].all()
    assert find_box_cells((0, 0, 128, 64), (128, 64), "longest").sum() == 64 * 32
    with pytest.raises(InputInvalid, match="marks nothing of a picture of 128 x 64"):
        find_box_cells((200, 0, 300, 64), (128, 64), "shortest")


@pytest.mark.parametrize(
    ("caption", "other", "keyword", "phrase"),
    [
        ("a cat on a mat", "a dog on a mat", "cat", "cat"),
        ("a Cat on a mat", "a dog on a mat", "cat", "Cat"),
        ("a dog on a mat", "a cat on a mat", "cat", "dog"),  # the keyword came into the other
        ("a cat on a mat with a hat", "a cat on a mat", "", "hat"),
        ("a cat on a mat", "a cat on a mat with a hat", "hat", ""),  # nothing goes
        ("a red apple on a wooden table", "a green apple on a wooden table", "", "red apple"),
        ("a green apple on a wooden table", "a red apple on a wooden table", "green", "green apple"),
        ("a woman with dark skin tone", "a woman", "dark skin tone", "dark skin tone"),
        ("a cat on a mat", "", "", "mat"),
        ("over there", "", "", "over there"),
    ],
)
def test_a_mask_covers_what_the_other_caption_does_not_name(tagger, caption, other, keyword, phrase):
    (tagged,) = tagger.tag([caption])
    assert choose_mask_phrase(tagged, other, keyword) == phrase


class Given:
    """A generator whose pictures are there already."""

    def __init__(self, *made: PicturePair) -> None:
        self._made = made

    def generate(self, _pairs: Sequence[CaptionPair]) -> Iterator[PicturePair]:
        yield from self._made


def test_a_pairs_mask_is_what_goes_and_what_comes(folder, tagger):
    before, after = pictures(2)
    captions = CaptionPair(
        "k", "train", "r", "t", "a dog on a mat", "a bicycle on a mat", "make it a bicycle", "", "bicycle"
    )
    masks = finder(folder, threshold=middle(folder, before, "dog"))
    given = Given(PicturePair(captions, before, after), PicturePair(captions, before, after, rejected_by="unsafe"))
    masked = MaskedGenerator(given, masks, tagger, resize_mode="squash", batch_size=1)
    kept, unsafe = masked.generate([captions])
    goes, comes = masks.find_cells([before, after], ["dog", "bicycle"], "squash")
    assert goes.any()
    assert kept.mask is not None
    np.testing.assert_array_equal(kept.mask, goes | comes)
    assert unsafe.mask is None
    blind = MaskedGenerator(given, finder(folder, threshold=0.999999), tagger, resize_mode="squash", batch_size=8)
    assert next(blind.generate([captions])).mask is None


def test_a_folder_without_clipseg_is_refused(tmp_path: Path):
    with pytest.raises(InputInvalid, match="holds no CLIPSeg in safetensors"):
        finder(str(tmp_path))
    with pytest.raises(ResourceUnavailable, match="not on this machine; run: compodiff get nobody/nothing"):
        finder("nobody/nothing")
