"""Which cosines tell copies of a picture from other pictures, by the project's own encoder; skips where there is none.

Run: pytest -m slow -s tests/integration/test_cleaning_thresholds.py
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import encode_picture
from PIL import Image

from compodiff.catalogue.pictures import Catalogue
from compodiff.cleaning.survey import embed_as_units
from compodiff.encoders import load_encoder
from compodiff.images.decoding import paint_on_white
from compodiff.images.looks import compute_look, look_the_same

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PICTURES = 300
LEAST = (0.9, 0.95)  # cosines


def jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    return lambda picture: Image.open(io.BytesIO(encode_picture(picture, "JPEG", quality=quality))).convert("RGB")


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 90": jpeg(90),
    "JPEG 60": jpeg(60),
    "112 px and back": lambda it: it.resize((112, 112)).resize(it.size),
    "224 px and back": lambda it: it.resize((224, 224)).resize(it.size),
    "2 px cropped": lambda it: it.crop((2, 2, it.width - 2, it.height - 2)).resize(it.size),
}


def test_copies_lie_above_the_threshold_and_looks_tell_the_rest_apart() -> None:
    if not (ROOT / "artifacts" / "encoder" / "manifest.json").is_file():
        pytest.skip("no encoder; run: make run")
    torch.set_num_threads(1)
    encoder, catalogue = load_encoder(ROOT / "artifacts" / "encoder"), Catalogue.load(ROOT / "data")
    names = np.random.default_rng(17).permutation(catalogue.list_distinct())[:PICTURES]
    originals = [paint_on_white(catalogue.read(str(name))) for name in names]
    units = embed_as_units(encoder, originals, 16).astype(np.float32)
    looks = np.stack([compute_look(it) for it in originals])
    others = units @ units.T
    np.fill_diagonal(others, -1)
    nearest = others.argmax(axis=1)
    same = look_the_same(looks, looks, np.stack([np.arange(PICTURES), nearest], axis=1))
    closest = others.max(axis=1)
    alike = {least: float(((closest >= least) & same).mean()) for least in LEAST}
    print(f"\nother pictures: {(closest >= 0.95).mean():.1%} have one at 0.95; that looks so, at {alike}")  # noqa: T201
    found = {}
    for kind, copied in COPIES.items():
        copies = [copied(it) for it in originals]
        cosines = (embed_as_units(encoder, copies, 16).astype(np.float32) * units).sum(axis=1)
        same = look_the_same(
            np.stack([compute_look(it) for it in copies]), looks, np.arange(PICTURES)[:, None].repeat(2, 1)
        )
        near = {least: float((cosines >= least).mean()) for least in LEAST}
        found[kind] = {least: float(((cosines >= least) & same).mean()) for least in LEAST}
        print(f"{kind}: near {near}, and looking so {found[kind]}")  # noqa: T201
    assert all(of_kind[0.9] >= 0.95 for kind, of_kind in found.items() if "cropped" not in kind)
    assert alike[0.9] <= 0.02
