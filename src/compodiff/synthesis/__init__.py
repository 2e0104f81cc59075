"""Captions become triplets: caption pairs, pictures for both captions, and the filters that keep the good ones."""
