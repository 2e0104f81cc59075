"""The embedded default's pictures: two emoji styles, their names, and the relations Unicode states between them."""
