from dataclasses import replace

import open_clip
import pytest
import torch
from factories import draw_noise, make_embedded_encoder
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from compodiff.encoders import PicturePart
from compodiff.encoders.manifest import EMBEDDED, OPEN_CLIP
from compodiff.encoders.preprocessing import make_transform

EDGE = 48


@pytest.fixture(scope="module")
def part() -> PicturePart:
    whole: PicturePart = make_embedded_encoder().manifest.picture
    return replace(whole, image_size=EDGE, mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.3))


@settings(max_examples=150, deadline=None)
@given(
    mode=st.sampled_from(["longest", "shortest", "squash"]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    library=st.sampled_from([EMBEDDED, OPEN_CLIP]),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
)
@example(mode="longest", interpolation="bicubic", library=EMBEDDED, size=(EDGE, EDGE))
@example(mode="longest", interpolation="bicubic", library=EMBEDDED, size=(20, 7))
@example(mode="shortest", interpolation="bicubic", library=OPEN_CLIP, size=(67, 301))
def test_it_is_open_clip_s_bit_for_bit(
    part: PicturePart, mode: str, interpolation: str, library: str, size: tuple[int, int]
) -> None:
    assume(mode != "longest" or max(size) <= min(size) * EDGE)  # there open_clip leaves no pixel
    asked = replace(part, resize_mode=mode, interpolation=interpolation, library=library)
    config = open_clip.transform.PreprocessCfg(
        size=EDGE,
        mean=asked.mean,
        std=asked.std,
        interpolation=interpolation,
        resize_mode=mode,
        fill_color=255 if library == EMBEDDED else 0,
    )
    drawn = draw_noise(5, *size)
    ours, theirs = make_transform(asked)(drawn), open_clip.transform.image_transform_v2(config, is_train=False)(drawn)
    assert ours.is_contiguous()
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("resize_to", [EDGE + 7, EDGE, EDGE - 7])
@pytest.mark.parametrize("size", [(64, 64), (301, 97), (40, 333)])
def test_a_shorter_edge_of_its_own_is_torchvision_s_bit_for_bit(
    part: PicturePart, resize_to: int, size: tuple[int, int]
) -> None:
    asked = replace(part, library=OPEN_CLIP, resize_mode="shortest", resize_to=resize_to)
    resize = Resize(resize_to, InterpolationMode.BICUBIC)
    theirs = Compose([resize, CenterCrop(EDGE), ToTensor(), Normalize(asked.mean, asked.std)])
    drawn = draw_noise(5, *size)
    assert torch.equal(make_transform(asked)(drawn), theirs(drawn))


def test_a_picture_too_narrow_to_keep_a_pixel_is_widened(part: PicturePart) -> None:
    asked = replace(part, resize_mode="longest", mean=(0.0,) * 3, std=(1.0,) * 3)
    pixels = make_transform(asked)(draw_noise(5, 1, 500))
    assert (pixels < 1).any(dim=(0, 1)).sum() == 1
