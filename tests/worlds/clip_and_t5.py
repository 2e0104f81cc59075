"""Encoders of the paper's best row, tiny: the pictures and texts of a CLIP, and a T5 for texts beside or instead."""

from collections.abc import Sequence
from pathlib import Path

from compodiff.encoders import Encoder, assemble_encoder
from compodiff.params import PartParams
from worlds.tiny_models import save_clip, save_t5

CLIP, T5 = "clip", "t5"
TOKEN_DIMS = {CLIP: 24, T5: 16}
EMBEDDING_DIM = 20


def make_encoder_of_parts(folder: Path, texts: Sequence[str] = (CLIP, T5)) -> Encoder:
    """The pictures of the CLIP, and the text parts that `texts` names; the CLIP's own texts are among its pictures."""
    save_clip(folder / CLIP, projection=EMBEDDING_DIM)
    save_t5(folder / T5)
    return assemble_encoder(
        PartParams(name=str(folder / CLIP)), [PartParams(name=str(folder / name)) for name in texts]
    )
