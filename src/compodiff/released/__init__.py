"""The weights that the paper's authors released, and what converts them."""
