"""The small encoder, composer and index of worlds/retrieval.py."""

from worlds.retrieval import composer, encoder

__all__ = ["composer", "encoder"]
