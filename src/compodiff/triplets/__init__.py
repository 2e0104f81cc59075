"""Triplets of every source, made into shards."""
