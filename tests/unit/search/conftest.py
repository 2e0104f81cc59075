"""The small encoder, composer and index of worlds/retrieval.py."""

from worlds.edits import encoder_with_edits
from worlds.retrieval import composer, encoder

__all__ = ["composer", "encoder", "encoder_with_edits"]
