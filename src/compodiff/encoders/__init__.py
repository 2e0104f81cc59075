"""Pictures and texts into one space: any open_clip model, or the small one assembled from packaged weights.

`load_encoder` reads what `save_encoder` wrote; `open_clip_encoder` takes a model of open_clip's list (the paper's is
ViT-L-14 with the weights `openai`); `load_embedded_encoder` assembles the default from two pinned packages, offline.
"""

from compodiff.encoders.embedded import load_embedded_encoder
from compodiff.encoders.encoder import Encoder, TextEncoding
from compodiff.encoders.loading import KIND, load_encoder, open_clip_encoder, save_encoder
from compodiff.encoders.manifest import EncoderManifest, require_same
from compodiff.encoders.memo import NAME as MEMO

__all__ = [
    "KIND",
    "MEMO",
    "Encoder",
    "EncoderManifest",
    "TextEncoding",
    "load_embedded_encoder",
    "load_encoder",
    "open_clip_encoder",
    "require_same",
    "save_encoder",
]
