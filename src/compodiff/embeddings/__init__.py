"""Pictures, texts and masked pictures, embedded once and memory-mapped: what both stages of training read."""

from compodiff.embeddings.making import EmbeddingMaterial, ExactMask, make_embeddings
from compodiff.embeddings.masking import blank_masked, draw_mask, find_drawn_cells
from compodiff.embeddings.stored import Embeddings
from compodiff.images.mask_cells import MASK_SIZE

__all__ = [
    "MASK_SIZE",
    "EmbeddingMaterial",
    "Embeddings",
    "ExactMask",
    "blank_masked",
    "draw_mask",
    "find_drawn_cells",
    "make_embeddings",
]
