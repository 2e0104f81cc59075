"""CompoDiff: composed image retrieval with latent diffusion (arXiv 2303.11916)."""

__version__ = "0.1.0"
