"""Pictures and texts embedded once and memory-mapped: of sets, which training reads, and of benchmarks."""

from compodiff.embeddings.making import EmbeddingMaterial, make_embeddings
from compodiff.embeddings.masking import blank_masked, draw_mask, find_drawn_cells
from compodiff.embeddings.set_arrays import SetEmbeddings
from compodiff.embeddings.set_making import embed_set
from compodiff.embeddings.stored import Embeddings
from compodiff.embeddings.text_tower import TextTower
from compodiff.images.mask_cells import MASK_SIZE

__all__ = [
    "MASK_SIZE",
    "EmbeddingMaterial",
    "Embeddings",
    "SetEmbeddings",
    "TextTower",
    "blank_masked",
    "draw_mask",
    "embed_set",
    "find_drawn_cells",
    "make_embeddings",
]
