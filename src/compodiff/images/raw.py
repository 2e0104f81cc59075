"""What a camera stores unprocessed: the preview that it put beside, or else the sensor's values made a picture.

The only module that knows rawpy, an optional package.
"""

import io
from collections.abc import Callable
from typing import Any

from PIL import Image

from compodiff.errors import InputInvalid
from compodiff.images.kinds import RAW, KindNotRead

_SMALLEST_PREVIEW = 512  # pixels of the longer edge; a smaller one is a thumbnail for the camera's screen
_TURNS = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.ROTATE_90, 6: Image.Transpose.ROTATE_270}
# TIFF's tags of a file that is a camera's: DNGVersion; a first picture that is a small copy, with others below it.
_SUBFILE, _PHOTOMETRIC, _BELOW, _DNG = 254, 262, 330, 50706
_FROM_A_SENSOR = (32803, 34892)


def is_raw(picture: Any) -> bool:
    """Return whether an opened TIFF is a camera's, of which TIFF's own reader sees a thumbnail."""
    tags = picture.tag_v2
    is_copy = isinstance(tags.get(_SUBFILE), int) and tags.get(_SUBFILE) & 1
    return bool(_DNG in tags or (is_copy and _BELOW in tags) or tags.get(_PHOTOMETRIC) in _FROM_A_SENSOR)


def develop(content: bytes, decode: Callable[[bytes], Image.Image]) -> Image.Image:
    """Return a camera's own preview, upright; where there is none worth the name, the sensor's values at half size.

    Raises:
        KindNotRead: rawpy is not installed.
        InputInvalid: rawpy cannot read it.
    """
    if not RAW.is_read:
        raise KindNotRead(RAW)
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(content)) as camera:
            preview = _read_preview(camera, decode)
            if preview is not None:
                return preview
            return Image.fromarray(camera.postprocess(half_size=True, use_camera_wb=True))
    except (rawpy.LibRawError, OSError, ValueError) as error:
        raise InputInvalid(f"does not decode as RAW: {' '.join(str(error).split())}") from error


def _read_preview(camera: Any, decode: Callable[[bytes], Image.Image]) -> Image.Image | None:
    import rawpy

    try:
        found = camera.extract_thumb()
    except rawpy.LibRawError:
        return None
    if found.format != rawpy.ThumbFormat.JPEG:
        return None
    try:
        picture = decode(bytes(found.data))
    except InputInvalid:
        return None
    if max(picture.size) < _SMALLEST_PREVIEW:
        return None
    stored_wide = camera.sizes.width >= camera.sizes.height
    turn = _TURNS.get(camera.sizes.flip)
    # A preview that says itself how it was held is upright by now.
    is_turned = turn in (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270) and (
        (picture.width >= picture.height) != stored_wide
    )
    return picture if turn is None or is_turned else picture.transpose(turn)
