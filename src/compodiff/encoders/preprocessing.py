"""What a picture goes through before it enters a tower."""

from collections.abc import Callable
from functools import partial

from PIL import Image
from torch import Tensor

from compodiff.encoders.manifest import EMBEDDED, PicturePart

_WHITE = 255  # beside a picture that is no square, where it is not cut


def make_transform(part: PicturePart) -> Callable[[Image.Image], Tensor]:
    """Return the preprocessing of an RGB picture -> (3, H, W) float32, as open_clip has it.

    Where a picture is not cut, one that is too narrow to keep a pixel of its shorter edge is widened first.
    """
    is_quick = part.resize_mode in ("longest", "squash") and part.resize_to is None
    made = _make_quickly(part) if is_quick else _make_by_open_clip(part)
    if part.resize_mode != "longest":
        return made
    from torchvision.transforms import Compose

    whole: Callable[[Image.Image], Tensor] = Compose([partial(_keep_a_pixel, size=part.image_size), made])
    return whole


def _keep_a_pixel(picture: Image.Image, size: int) -> Image.Image:
    """Widen the shorter edge so that one pixel of it is left where the longer one becomes `size`."""
    least = -(-max(picture.size) // size)
    if min(picture.size) >= least:
        return picture
    return picture.resize((max(picture.width, least), max(picture.height, least)))


def _make_by_open_clip(part: PicturePart) -> Callable[[Image.Image], Tensor]:
    """Return the preprocessing by open_clip itself."""
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from torchvision.transforms import Resize

    transform = image_transform_v2(
        PreprocessCfg(
            size=part.image_size,
            mean=part.mean,
            std=part.std,
            interpolation=part.interpolation,
            resize_mode=part.resize_mode,
        ),
        is_train=False,
    )
    if part.resize_to is not None:
        first = transform.transforms[0]
        transform.transforms[0] = Resize(part.resize_to, first.interpolation, antialias=True)
    made: Callable[[Image.Image], Tensor] = transform
    return made


def _make_quickly(part: PicturePart) -> Callable[[Image.Image], Tensor]:
    """Return open_clip's preprocessing without open_clip, which has it from timm, and whose import takes seconds."""
    from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio
    from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize, ToTensor

    edges = (part.image_size, part.image_size)
    if part.resize_mode == "squash":
        steps = [Resize(edges, InterpolationMode(part.interpolation))]
    else:
        fill = _WHITE if part.library == EMBEDDED else 0  # transparent parts are white there, too
        resize = ResizeKeepRatio(edges, longest=1, interpolation=part.interpolation)
        steps = [resize, CenterCropOrPad(edges, fill=fill)]
    made: Callable[[Image.Image], Tensor] = Compose([*steps, ToTensor(), Normalize(part.mean, part.std)])
    return made
