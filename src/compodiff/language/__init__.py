"""Terms of a caption, and the templates that say what becomes of them."""
