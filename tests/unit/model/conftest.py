"""The small networks of worlds/networks.py."""

from worlds.networks import config, denoiser, make_denoiser, normal, texts

__all__ = ["config", "denoiser", "make_denoiser", "normal", "texts"]
