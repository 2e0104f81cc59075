"""A caption pair, the two pictures made for it, and how alike they are."""
