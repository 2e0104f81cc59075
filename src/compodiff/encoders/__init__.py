"""Pictures into embeddings, texts into token states: a picture part and text parts, of one model or of several.

`load_encoder` reads what `save_encoder` wrote; `assemble_encoder` joins parts that params name; `open_clip_encoder`
takes both towers of a model of open_clip's list; `load_embedded_encoder` assembles the default from two pinned
packages, offline.
"""

from compodiff.encoders.embedded import load_embedded_encoder
from compodiff.encoders.encoder import Encoder
from compodiff.encoders.loading import (
    KIND,
    assemble_encoder,
    load_encoder,
    open_clip_encoder,
    read_edit_maps,
    save_encoder,
)
from compodiff.encoders.manifest import EncoderManifest, PicturePart, TextPart, require_same
from compodiff.encoders.memo import NAME as MEMO
from compodiff.encoders.towers import TextEncoding, TokenStates

__all__ = [
    "KIND",
    "MEMO",
    "Encoder",
    "EncoderManifest",
    "PicturePart",
    "TextEncoding",
    "TextPart",
    "TokenStates",
    "assemble_encoder",
    "load_embedded_encoder",
    "load_encoder",
    "open_clip_encoder",
    "read_edit_maps",
    "require_same",
    "save_encoder",
]
