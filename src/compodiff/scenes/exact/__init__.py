"""Edits of a whole picture that can be made exactly, for any picture: mirrored, in black and white, from closer."""
